//! Test harness of Strongroom.

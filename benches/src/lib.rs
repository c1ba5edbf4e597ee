//! Strongroom.

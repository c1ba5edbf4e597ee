//! Strongroom against its peers and against itself: same bytes, same run, a ratio.

pub mod versus {
    //! One module a question; each gives rows, which the programs print.
    pub mod files;
}

//! Test harness of Strongroom: one suite per trait, run on each implementation.
//!
//! A suite is a list of promises, each a function of its own, over a way to open the thing. Opening twice opens the
//! same storage again, as a second process would. `*_suite!` makes a test of each promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "test code: a promise is named by its function, and a broken one panics"
)]

pub mod blob_suite;
pub mod catalog_suite;
pub mod key_life_suite;
pub mod keyring_suite;
pub mod listing_suite;
pub mod upload_suite;
pub mod user_suite;

/// One test for each promise, over `$open`: an expression that gives a function which opens the thing.
#[macro_export]
macro_rules! each_promise {
    ($open:expr; $($promise:path as $name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $promise(&$open).await;
            }
        )+
    };
}

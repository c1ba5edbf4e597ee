//! What runs beside the requests.

pub mod rotate;
pub mod sweep;

//! What runs beside the requests.

pub mod forget;
pub mod rotate;
pub mod sweep;

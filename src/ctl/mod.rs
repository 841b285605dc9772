//! Commands → requests → tables or JSON.

pub mod since;

//! The queue monitor's state: connections, who watches them, what was observed, and the lists made of it.

pub(super) mod connections;
pub(super) mod decode;
pub(super) mod observe;
pub(super) mod query;
pub(super) mod watches;

//! Reserving, renewing, releasing, transactions, resources, expiry.

mod api;
mod batches;
mod batching;
mod batching_refusals;
mod expiry;
mod list;
mod names;
mod pools_trees_ops;
mod pools_trees_pair;
mod pools_trees_property;
mod property;
mod resources;
mod shapes;
mod transactions;
mod waiting;
mod waiting_calls;
mod waiting_clients;
mod waiting_edges;
mod waiting_ended;
mod waiting_failures;
mod waiting_http2;
mod waiting_many;
mod waiting_property;

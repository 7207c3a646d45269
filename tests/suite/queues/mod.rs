//! The queue monitor: Celery, BullMQ, pushed events, lists.

mod bullmq;
mod celery;
mod connections;
mod lists;
mod monitor;
mod replay;
mod sluice;
mod state;
mod takeover;
mod watches;

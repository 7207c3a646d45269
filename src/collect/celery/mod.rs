mod decode;
mod queues;
mod sight;
mod tracker;

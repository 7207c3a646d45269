//! Entries of BullMQ's event streams, with the hash of the job.
#![no_main]

use holdfast::monitor::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzing::bullmq_entry(bytes));

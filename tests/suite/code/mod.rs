//! The source itself: imports, script headers, costs, benchmarks, deployment files, documents, words.

mod benchmarks;
mod cost;
mod deployment;
mod documents;
mod encoder;
mod functions;
mod glossary;
mod headers;
mod library;
mod rooms;

//! Drives, measures and *checks* Anyport: what every test and load uses that needs more than one process.
//!
//! Read [`oracle::Oracle`] first: it knows what must have happened, and every load is judged by it. [`workload`] makes
//! or reads the events, [`runner`] starts and kills broker processes, [`fault_proxy`] stands between a client and a
//! broker and harms packets. Nothing here decides what a broker should do; it only tells and asks through the public
//! SDK, the command line and the network.

pub mod bench;
pub mod churn;
pub mod demo;
pub mod drive;
pub mod fault_proxy;
pub mod herd;
pub mod oracle;
pub mod raw;
pub mod runner;
pub mod workload;

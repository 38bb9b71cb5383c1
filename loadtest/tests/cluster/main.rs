//! Clusters of real processes: how they form and change, and what becomes of events and clients while brokers are killed, frozen,
//! damaged, replaced and cut off from each other. The oracle judges every story.

mod churn;
mod damage;
mod disk;
mod edge;
mod forming;
mod freezing;
mod killing;
mod lines;
mod map;
mod network;
mod recovering;
mod replacing;
mod roaming;
mod scene;
mod stuck;

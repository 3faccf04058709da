//! Large numbers of queues and messages.

mod backlog;
mod queues;
mod restart;

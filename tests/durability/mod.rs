//! What was acknowledged is there afterwards; what is damaged is never served.

mod damage;
mod disk_full;
mod fifo;
mod kill;
mod ledger;
mod load;
mod start_and_stop;

//! Every producer with every consumer.

mod nine;
mod replay;
mod within_amqp;
mod within_sqs;
mod words;

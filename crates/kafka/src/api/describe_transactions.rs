//! DescribeTransactions (key 65), version 0, and ListTransactions (key 66), versions 0-1: what is
//! known of transactional ids (KIP-664). The filters by a pattern of version 2 are not served.

use std::collections::{BTreeMap, BTreeSet};

use forebay_broker::{
    Command, Reply, TransactionCommand, TransactionDescription, TransactionPhase,
};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::list_transactions_response::TransactionState as Listed;
use kafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
    ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::transaction_code;
use crate::topic;

/// The states of Kafka. A transaction is never seen between the decision and its completion here.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "PrepareEpochFence",
    "Dead",
];

pub(super) async fn answer(
    context: &Context,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut states = Vec::with_capacity(request.transactional_ids.len());
    // An id asked for twice is told once, so that a small question has no huge answer.
    let mut seen = BTreeSet::new();
    for id in request.transactional_ids {
        if !seen.insert(id.clone()) {
            continue;
        }
        let name = id.to_string();
        let state = match ask(context, TransactionCommand::Describe { name }).await {
            Ok(known) => match known.into_iter().next() {
                Some(known) => describe(context, known),
                None => failed(ResponseError::TransactionalIdNotFound),
            },
            Err(error) => failed(error),
        };
        states.push(state.with_transactional_id(id));
    }
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

pub(super) async fn list(
    context: &Context,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let response = ListTransactionsResponse::default();
    let filters = request.state_filters;
    let (known, unknown): (Vec<_>, Vec<_>) = filters
        .into_iter()
        .partition(|filter| STATES.contains(&filter.as_str()));
    if known.is_empty() && !unknown.is_empty() {
        return response.with_unknown_state_filters(unknown);
    }
    let all = match ask(context, TransactionCommand::List).await {
        Ok(all) => all,
        Err(error) => return response.with_error_code(error.code()),
    };
    let now = context.broker.now();
    let least = u64::try_from(request.duration_filter).ok();
    let wanted = |one: &TransactionDescription| {
        let state = known.is_empty() || known.iter().any(|name| name.as_str() == word(one.phase));
        let ids = &request.producer_id_filters;
        let producer = ids.is_empty() || ids.contains(&ProducerId(one.producer));
        let lasts = one.since.map(|since| now.ms_since(since));
        state && producer && least.is_none_or(|least| lasts.is_some_and(|lasts| lasts > least))
    };
    let listed = all.into_iter().filter(wanted).map(|one| {
        Listed::default()
            .with_transactional_id(TransactionalId(StrBytes::from_string(one.name)))
            .with_producer_id(ProducerId(one.producer))
            .with_transaction_state(StrBytes::from_static_str(word(one.phase)))
    });
    response
        .with_transaction_states(listed.collect())
        .with_unknown_state_filters(unknown)
}

async fn ask(
    context: &Context,
    command: TransactionCommand,
) -> Result<Vec<TransactionDescription>, ResponseError> {
    match context.session.call(Command::Transaction(command)).await {
        Ok(Reply::Transactions(known)) => Ok(known),
        Ok(_) => Err(ResponseError::UnknownServerError),
        Err(refusal) => Err(transaction_code(&refusal, true)),
    }
}

fn describe(context: &Context, known: TransactionDescription) -> TransactionState {
    let mut topics: BTreeMap<TopicName, Vec<i32>> = BTreeMap::new();
    for id in known.partitions {
        let Some(topic) = context.broker.directory().topic_of(id) else {
            continue;
        };
        let index = topic.partitions.iter().position(|known| *known == id);
        if let Some(index) = index.and_then(|index| i32::try_from(index).ok()) {
            topics
                .entry(topic::name_of(&topic))
                .or_default()
                .push(index);
        }
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        TopicData::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(word(known.phase)))
        .with_transaction_timeout_ms(i32::try_from(known.timeout_ms).unwrap_or(i32::MAX))
        .with_transaction_start_time_ms(known.since.map_or(-1, |since| since.0))
        .with_producer_id(ProducerId(known.producer))
        .with_producer_epoch(known.epoch)
        .with_topics(topics.collect())
}

fn failed(error: ResponseError) -> TransactionState {
    TransactionState::default().with_error_code(error.code())
}

fn word(phase: TransactionPhase) -> &'static str {
    match phase {
        TransactionPhase::Empty => "Empty",
        TransactionPhase::Ongoing => "Ongoing",
        TransactionPhase::Committed => "CompleteCommit",
        TransactionPhase::Aborted => "CompleteAbort",
    }
}

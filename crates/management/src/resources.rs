//! What there is, as JSON: queues, exchanges, bindings, connections, channels, consumers.

use axum::http::Method;
use forebay_access::{Tag, place_of, prefix_of};
use forebay_amqp::{
    ChannelReport, ConnectionReport, ConsumerReport, ExchangeFacts, QueueFacts, binding_arguments,
};
use forebay_base::TopicId;
use forebay_broker::{Binding, Command, Destination, Reply, TopicInfo, TopicStats, TopicWork};
use hashbrown::HashMap;
use serde_json::{Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::desk::Desk;
use crate::overview::NODE;
use crate::rates::{Rate, measure};
use crate::routes::Asked;
use crate::table;

// ---- queues ------------------------------------------------------------------------------------

/// The queues of one virtual host or all, as far as the caller sees them.
pub(crate) async fn queues(asked: &Asked<'_>, vhost: Option<&str>) -> Result<Vec<Value>> {
    let desk = asked.desk;
    let prefix = vhost.map(prefix_of).unwrap_or_default();
    let topics = desk.broker.directory().topics(&prefix, None, usize::MAX);
    let seen = topics.into_iter().filter_map(|topic| {
        let facts = QueueFacts::of(&topic);
        let here = vhost.is_none_or(|vhost| facts.vhost == vhost);
        let there = asked.caller.access.vhosts().contains_key(&facts.vhost);
        (here && there && asked.caller.sees(&facts.vhost)).then_some((topic, facts))
    });
    let seen: Vec<_> = seen.collect();
    let ids: Vec<TopicId> = seen.iter().map(|(topic, _)| topic.id).collect();
    let measured = measure(&desk.broker, &ids).await?;
    let shown = seen.iter().filter_map(|(topic, facts)| {
        let measures = measured.get(&topic.id)?;
        Some(queue(asked, topic, facts, *measures))
    });
    Ok(shown.collect())
}

/// One queue.
pub(crate) async fn one_queue(asked: &Asked<'_>, topic: &TopicInfo) -> Result<Option<Value>> {
    let facts = QueueFacts::of(topic);
    let measured = measure(&asked.desk.broker, &[topic.id]).await?;
    let Some(measures) = measured.get(&topic.id) else {
        return Ok(None);
    };
    let mut shown = queue(asked, topic, &facts, *measures);
    let consumers = consumers(asked).await;
    let own = consumers.into_iter().filter(|consumer| {
        consumer["queue"]["name"] == facts.name && consumer["queue"]["vhost"] == facts.vhost
    });
    shown["consumer_details"] = own.collect();
    shown["deliveries"] = json!([]);
    shown["incoming"] = json!([]);
    Ok(Some(shown))
}

fn queue(
    asked: &Asked<'_>,
    topic: &TopicInfo,
    facts: &QueueFacts,
    (stats, work): (TopicStats, TopicWork),
) -> Value {
    let effective = facts.effective(&asked.caller.access);
    let rate = asked.desk.rates.of(topic.id);
    let ready = stats.ready + stats.delayed;
    json!({
        "name": facts.name,
        "vhost": facts.vhost,
        "type": facts.kind,
        "durable": facts.durable,
        "auto_delete": facts.auto_delete,
        "exclusive": facts.exclusive,
        "arguments": table::to_json(&facts.arguments),
        "node": NODE,
        "state": "running",
        "policy": effective.policy,
        "operator_policy": effective.operator_policy,
        "effective_policy_definition": effective.definition,
        "messages": ready + stats.leased,
        "messages_details": {"rate": rate.ready + rate.unacked},
        "messages_ready": ready,
        "messages_ready_details": {"rate": rate.ready},
        "messages_unacknowledged": stats.leased,
        "messages_unacknowledged_details": {"rate": rate.unacked},
        "messages_delayed": stats.delayed,
        "consumers": stats.consumers,
        "consumer_utilisation": Value::Null,
        "consumer_capacity": i32::from(stats.consumers > 0),
        "exclusive_consumer_tag": Value::Null,
        "single_active_consumer_tag": Value::Null,
        "head_message_timestamp": Value::Null,
        "memory": 0,
        "message_bytes": 0,
        "reductions": 0,
        "reductions_details": {"rate": 0.0},
        "recoverable_slaves": Value::Null,
        "garbage_collection": {},
        "message_stats": message_stats(&work, rate),
    })
}

/// Counts and rates by RabbitMQ's names.
pub(crate) fn message_stats(work: &TopicWork, rate: Rate) -> Value {
    let with_ack = work.handed_out.saturating_sub(work.handed_settled);
    let rated = |rate: f64| json!({"rate": rate});
    json!({
        "publish": work.appended,
        "publish_details": rated(rate.publish),
        "deliver": with_ack,
        "deliver_details": rated(rate.deliver),
        "deliver_no_ack": work.handed_settled,
        "deliver_no_ack_details": rated(rate.deliver_no_ack),
        "deliver_get": work.handed_out,
        "deliver_get_details": rated(rate.deliver + rate.deliver_no_ack),
        "get": 0,
        "get_details": rated(0.0),
        "get_no_ack": 0,
        "get_no_ack_details": rated(0.0),
        "ack": work.settled,
        "ack_details": rated(rate.ack),
        "redeliver": work.redelivered,
        "redeliver_details": rated(rate.redeliver),
    })
}

// ---- exchanges and bindings --------------------------------------------------------------------

/// The exchanges of one virtual host or all, as far as the caller sees them; each has its default
/// exchange.
pub(crate) fn exchanges(asked: &Asked<'_>, vhost: Option<&str>) -> Vec<Value> {
    let access = &asked.caller.access;
    let sees = |at: &str| vhost.is_none_or(|vhost| vhost == at) && asked.caller.sees(at);
    let defaults = access.vhosts().keys().filter(|vhost| sees(vhost));
    let mut shown: Vec<Value> = defaults.map(|vhost| default_exchange(vhost)).collect();
    let known = asked.desk.broker.directory().exchanges();
    for facts in known.iter().map(|exchange| ExchangeFacts::of(exchange)) {
        if sees(&facts.vhost) && access.vhosts().contains_key(&facts.vhost) {
            shown.push(exchange(asked, &facts));
        }
    }
    shown
}

pub(crate) fn default_exchange(vhost: &str) -> Value {
    json!({
        "name": "", "vhost": vhost, "type": "direct", "durable": true, "auto_delete": false,
        "internal": false, "arguments": {}, "user_who_performed_action": "rmq-internal",
    })
}

pub(crate) fn exchange(asked: &Asked<'_>, facts: &ExchangeFacts) -> Value {
    let subject = forebay_access::Subject::Exchange;
    let access = &asked.caller.access;
    let effective = access.effective(&facts.vhost, &facts.name, subject);
    json!({
        "name": facts.name,
        "vhost": facts.vhost,
        "type": facts.kind,
        "durable": facts.durable,
        "auto_delete": facts.auto_delete,
        "internal": facts.internal,
        "arguments": table::to_json(&facts.arguments),
        "policy": effective.policy,
        "user_who_performed_action": "",
    })
}

/// All bindings of one virtual host or all, as far as the caller sees them; a queue's binding to
/// its default exchange is among them.
pub(crate) async fn bindings(asked: &Asked<'_>, vhost: Option<&str>) -> Result<Vec<Value>> {
    let mut shown = Vec::new();
    let directory = asked.desk.broker.directory();
    let access = &asked.caller.access;
    let sees = |at: &str| {
        let there = access.vhosts().contains_key(at);
        there && vhost.is_none_or(|vhost| vhost == at) && asked.caller.sees(at)
    };
    for topic in directory.topics("", None, usize::MAX) {
        let (at, name) = place_of(&topic.name);
        if sees(&at) {
            shown.push(binding_shown(&at, ("", name, "queue"), name, json!({})));
        }
    }
    for binding in declared_bindings(asked.desk).await? {
        let binding = binding_json(asked.desk, &binding);
        if binding["vhost"].as_str().is_some_and(sees) {
            shown.push(binding);
        }
    }
    Ok(shown)
}

pub(crate) async fn declared_bindings(desk: &Desk) -> Result<Vec<Binding>> {
    match desk.broker.call(Command::ListBindings).await? {
        Reply::Bindings(bindings) => Ok(bindings),
        _ => Ok(Vec::new()),
    }
}

fn binding_json(desk: &Desk, binding: &Binding) -> Value {
    let (vhost, source) = place_of(&binding.exchange);
    let (destination, kind) = match &binding.destination {
        Destination::Topic(name) => (name, "queue"),
        Destination::Exchange(name) => (name, "exchange"),
    };
    let (_, destination) = place_of(destination);
    let known = desk.broker.directory().exchange(&binding.exchange);
    let source_kind = known.map(|known| known.config.kind);
    let arguments = table::to_json(&binding_arguments(source_kind, &binding.arguments));
    binding_shown(&vhost, (source, destination, kind), &binding.key, arguments)
}

fn binding_shown(
    vhost: &str,
    (source, destination, kind): (&str, &str, &str),
    key: &str,
    arguments: Value,
) -> Value {
    json!({
        "source": source,
        "vhost": vhost,
        "destination": destination,
        "destination_type": kind,
        "routing_key": key,
        "properties_key": properties_key(key, &arguments),
        "arguments": arguments,
    })
}

/// The last part of a binding's path: its key, and a digest of its arguments if it has any.
pub(crate) fn properties_key(key: &str, arguments: &Value) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let shown = match key {
        "" => "~".to_owned(),
        key => utf8_percent_encode(key, NON_ALPHANUMERIC)
            .to_string()
            .replace("%2E", ".")
            .replace("%2D", "-")
            .replace("%5F", "_"),
    };
    match arguments.as_object().is_none_or(serde_json::Map::is_empty) {
        true => shown,
        false => {
            use std::hash::Hasher;
            let mut digest = std::hash::DefaultHasher::new();
            digest.write(arguments.to_string().as_bytes());
            format!("{shown}~{:016x}", digest.finish())
        }
    }
}

// ---- connections, channels, consumers ----------------------------------------------------------

/// The connections the caller sees.
async fn reports(asked: &Asked<'_>) -> Vec<ConnectionReport> {
    let mut all = asked.desk.server.roster().reports().await;
    if !asked.caller.has(Tag::Monitoring) {
        all.retain(|one| *one.user == *asked.caller.user);
    }
    all
}

fn connection(report: &ConnectionReport) -> Value {
    let properties = table::to_json(&report.client_properties);
    let mut shown = json!({
        "name": report.name,
        "user": *report.user,
        "user_who_performed_action": *report.user,
        "vhost": *report.vhost,
        "node": NODE,
        "type": "network",
        "protocol": "AMQP 0-9-1",
        "auth_mechanism": report.mechanism,
        "connected_at": report.opened.0,
        "state": if report.blocked { "blocked" } else { "running" },
        "host": report.own.ip().to_canonical().to_string(),
        "port": report.own.port(),
        "peer_host": report.peer.ip().to_canonical().to_string(),
        "peer_port": report.peer.port(),
        "ssl": false,
        "channels": report.channels.len(),
        "channel_max": report.channel_max,
        "frame_max": report.frame_max,
        "timeout": report.heartbeat,
        "recv_oct": report.received,
        "recv_oct_details": {"rate": 0.0},
        "send_oct": report.sent,
        "send_oct_details": {"rate": 0.0},
        "recv_cnt": 0,
        "send_cnt": 0,
        "send_pend": 0,
    });
    if let Some(name) = properties["connection_name"].as_str() {
        shown["user_provided_name"] = json!(name);
    }
    shown["client_properties"] = properties;
    shown
}

fn connection_details(report: &ConnectionReport) -> Value {
    json!({
        "name": report.name,
        "peer_host": report.peer.ip().to_canonical().to_string(),
        "peer_port": report.peer.port(),
    })
}

fn channel_name(report: &ConnectionReport, channel: &ChannelReport) -> String {
    format!("{} ({})", report.name, channel.number)
}

fn channel(report: &ConnectionReport, channel: &ChannelReport) -> Value {
    json!({
        "name": channel_name(report, channel),
        "number": channel.number,
        "node": NODE,
        "user": *report.user,
        "user_who_performed_action": *report.user,
        "vhost": *report.vhost,
        "state": "running",
        "prefetch_count": channel.prefetch,
        "global_prefetch_count": channel.shared_prefetch,
        "consumer_count": channel.consumers.len(),
        "messages_unacknowledged": channel.unacked,
        "messages_unconfirmed": channel.unconfirmed,
        "messages_uncommitted": 0,
        "acks_uncommitted": 0,
        "confirm": channel.confirms,
        "transactional": false,
        "connection_details": connection_details(report),
    })
}

fn consumer(report: &ConnectionReport, at: &ChannelReport, one: &ConsumerReport) -> Value {
    json!({
        "consumer_tag": *one.tag,
        "queue": {"name": *one.queue, "vhost": *report.vhost},
        "ack_required": !one.no_ack,
        "active": true,
        "activity_status": "up",
        "exclusive": one.exclusive,
        "prefetch_count": one.prefetch,
        "arguments": match one.priority {
            0 => json!({}),
            priority => json!({"x-priority": priority}),
        },
        "channel_details": {
            "name": channel_name(report, at),
            "number": at.number,
            "user": *report.user,
            "node": NODE,
            "connection_name": report.name,
            "peer_host": report.peer.ip().to_canonical().to_string(),
            "peer_port": report.peer.port(),
        },
    })
}

async fn consumers(asked: &Asked<'_>) -> Vec<Value> {
    let reports = asked.desk.server.roster().reports().await;
    let mut shown = Vec::new();
    for report in reports.iter().filter(|one| asked.caller.sees(&one.vhost)) {
        for channel in &report.channels {
            let all = channel.consumers.iter();
            shown.extend(all.map(|one| consumer(report, channel, one)));
        }
    }
    shown
}

fn channels_of(reports: &[ConnectionReport]) -> Vec<Value> {
    let pairs = reports
        .iter()
        .flat_map(|report| report.channels.iter().map(move |one| (report, one)));
    pairs.map(|(report, one)| channel(report, one)).collect()
}

/// Connections and channels of one virtual host, and connections of one user.
pub(crate) async fn nested(asked: &Asked<'_>, path: &[&str], name: &str) -> Result {
    let mut all = reports(asked).await;
    match path {
        ["users", ..] => all.retain(|one| *one.user == *name),
        _ => {
            asked.caller.must_see(name)?;
            all.retain(|one| *one.vhost == *name);
        }
    }
    match path {
        [.., "channels"] => asked.list(channels_of(&all)),
        _ => asked.list(all.iter().map(connection).collect()),
    }
}

/// What is connected.
pub(crate) async fn connected(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    match (method, path) {
        (&Method::GET, ["consumers"]) => asked.list(consumers(asked).await),
        (&Method::GET, ["consumers", vhost]) => {
            asked.caller.must_see(vhost)?;
            let mut all = consumers(asked).await;
            all.retain(|one| one["queue"]["vhost"] == **vhost);
            asked.list(all)
        }
        (&Method::GET, ["connections"]) => {
            asked.list(reports(asked).await.iter().map(connection).collect())
        }
        (&Method::GET, ["channels"]) => asked.list(channels_of(&reports(asked).await)),
        (&Method::GET, ["channels", name]) => {
            let all = channels_of(&reports(asked).await);
            asked.one(all.into_iter().find(|one| one["name"] == **name))
        }
        (&Method::DELETE, ["connections", "username", user]) => {
            if *user != asked.caller.user {
                asked.caller.must_have(Tag::Administrator)?;
            }
            let reason = "Closed via management plugin";
            asked.desk.server.roster().close_user(user, reason);
            Ok(Answer::Done)
        }
        (&Method::GET, ["connections", "username", user]) => nested(asked, &["users"], user).await,
        (&Method::GET, ["connections", name]) => {
            let all = reports(asked).await;
            asked.one(all.iter().find(|one| one.name == *name).map(connection))
        }
        (&Method::GET, ["connections", name, "channels"]) => {
            let mut all = reports(asked).await;
            all.retain(|one| one.name == *name);
            match all.is_empty() {
                true => Err(Wrong::NotFound),
                false => asked.list(channels_of(&all)),
            }
        }
        (&Method::DELETE, ["connections", name]) => {
            let seen = reports(asked).await.iter().any(|one| one.name == *name);
            let reason = "Closed via management plugin";
            match seen && asked.desk.server.roster().close(name, reason).await {
                true => Ok(Answer::Done),
                false => Err(Wrong::NotFound),
            }
        }
        _ => Err(Wrong::NotFound),
    }
}

/// Counts of a virtual host's queues together.
pub(crate) async fn sums(
    desk: &Desk,
    vhost: Option<&str>,
) -> Result<(HashMap<String, TopicStats>, TopicWork)> {
    let prefix = vhost.map(prefix_of).unwrap_or_default();
    let topics = desk.broker.directory().topics(&prefix, None, usize::MAX);
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    let measured = measure(&desk.broker, &ids).await?;
    let mut stats: HashMap<String, TopicStats> = HashMap::new();
    let mut sum = TopicWork::default();
    for topic in &topics {
        let Some((own, work)) = measured.get(&topic.id) else {
            continue;
        };
        let at = place_of(&topic.name).0;
        let here = stats.entry(at.into_owned()).or_default();
        here.ready += own.ready + own.delayed;
        here.leased += own.leased;
        here.consumers = here.consumers.saturating_add(own.consumers);
        sum += *work;
    }
    Ok((stats, sum))
}

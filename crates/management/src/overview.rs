//! What runs here, as a whole.

use axum::http::Method;
use forebay_access::Tag;
use forebay_broker::{Pressure, TopicStats};
use serde_json::{Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::desk::Desk;
use crate::resources;
use crate::routes::Asked;

/// The name of the one node there is.
pub(crate) const NODE: &str = "rabbit@localhost";
/// The version whose behaviour is matched; tools switch features by it.
pub(crate) const RABBITMQ_VERSION: &str = "4.2.0";
const CLUSTER: &str = "forebay";

/// `overview` and its neighbours.
pub(crate) async fn answer(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    match (method, path) {
        (&Method::GET, ["overview"]) => asked.one(Some(overview(asked).await?)),
        (&Method::GET, ["whoami"]) => {
            let known = asked.caller.access.users().get(&asked.caller.user);
            let tags = known.map(|known| known.tags.clone()).unwrap_or_default();
            Ok(Answer::Json(json!({
                "name": asked.caller.user, "tags": tags, "is_internal_user": true,
            })))
        }
        (&Method::GET, ["version"]) => Ok(Answer::Text(RABBITMQ_VERSION.into())),
        (&Method::GET, ["cluster-name"]) => Ok(Answer::Json(json!({"name": CLUSTER}))),
        (&Method::GET, ["nodes"]) => {
            asked.caller.must_have(Tag::Monitoring)?;
            asked.list(vec![node(asked.desk)])
        }
        (&Method::GET, ["nodes", name]) => {
            asked.caller.must_have(Tag::Monitoring)?;
            asked.one((*name == NODE).then(|| node(asked.desk)))
        }
        (&Method::GET, ["extensions" | "deprecated-features" | "feature-flags", ..]) => {
            Ok(Answer::Json(json!([])))
        }
        (&Method::GET, ["auth", "attempts", ..]) => Ok(Answer::Json(json!([]))),
        (&Method::POST, ["rebalance", "queues"]) | (&Method::DELETE, ["reset", ..]) => {
            Ok(Answer::Done)
        }
        _ => Err(Wrong::NotFound),
    }
}

async fn overview(asked: &Asked<'_>) -> Result<Value> {
    let desk = asked.desk;
    let (stats, work) = resources::sums(desk, None).await?;
    let rate = desk.rates.sum();
    let seen = stats.iter().filter(|(vhost, _)| asked.caller.sees(vhost));
    let sum = seen.fold(TopicStats::default(), |sum, (_, one)| TopicStats {
        ready: sum.ready + one.ready,
        leased: sum.leased + one.leased,
        consumers: sum.consumers.saturating_add(one.consumers),
        ..sum
    });
    let reports = desk.server.roster().reports().await;
    let channels: usize = reports.iter().map(|report| report.channels.len()).sum();
    let (opened, closed) = desk.server.roster().counts();
    let listeners = desk.options.listeners.iter().map(|(protocol, at)| {
        json!({
            "node": NODE, "protocol": protocol, "port": at.port(),
            "ip_address": at.ip().to_string(), "socket_opts": [],
        })
    });
    Ok(json!({
        "management_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "Forebay",
        "product_version": desk.options.version,
        "rates_mode": "basic",
        "cluster_name": CLUSTER,
        "cluster_tags": {},
        "node_tags": {},
        "default_queue_type": "classic",
        "erlang_version": "",
        "erlang_full_version": "",
        "release_series_support_status": "supported",
        "is_op_policy_updating_enabled": true,
        "enable_queue_totals": false,
        "disable_stats": false,
        "exchange_types": enabled(&["direct", "fanout", "headers", "topic"]),
        "sample_retention_policies": {"global": [600], "basic": [600], "detailed": [10]},
        "message_stats": resources::message_stats(&work, rate),
        "churn_rates": {
            "connection_created": opened,
            "connection_created_details": {"rate": 0.0},
            "connection_closed": closed,
            "connection_closed_details": {"rate": 0.0},
        },
        "queue_totals": {
            "messages": sum.ready + sum.leased,
            "messages_details": {"rate": rate.ready + rate.unacked},
            "messages_ready": sum.ready,
            "messages_ready_details": {"rate": rate.ready},
            "messages_unacknowledged": sum.leased,
            "messages_unacknowledged_details": {"rate": rate.unacked},
        },
        "object_totals": {
            "connections": reports.len(),
            "channels": channels,
            "consumers": sum.consumers,
            "exchanges": resources::exchanges(asked, None).len(),
            "queues": desk.broker.directory().topic_count(),
        },
        "statistics_db_event_queue": 0,
        "node": NODE,
        "listeners": listeners.collect::<Vec<_>>(),
        "contexts": [],
    }))
}

/// Names of what can be used.
fn enabled(names: &[&str]) -> Value {
    let all = names.iter();
    all.map(|name| json!({"name": name, "description": "", "enabled": true}))
        .collect()
}

fn node(desk: &Desk) -> Value {
    let counters = desk.broker.counters();
    let full = !matches!(&*desk.broker.pressure().borrow(), Pressure::None);
    json!({
        "name": NODE,
        "type": "disc",
        "running": true,
        "being_drained": false,
        "uptime": desk.broker.now().ms_since(desk.started),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "mem_used": 0,
        "mem_limit": 0,
        "mem_alarm": false,
        "disk_free": 0,
        "disk_free_limit": 0,
        "disk_free_alarm": full,
        "fd_used": 0,
        "fd_total": 0,
        "sockets_used": desk.server.roster().len(),
        "sockets_total": 0,
        "proc_used": 0,
        "proc_total": 0,
        "run_queue": 0,
        "os_pid": std::process::id().to_string(),
        "rates_mode": "basic",
        "queue_index_write_count": counters.commits,
        "msg_store_write_count": counters.records_in,
        "partitions": [],
        "applications": [],
        "auth_mechanisms": enabled(&["PLAIN", "AMQPLAIN"]),
        "exchange_types": [],
        "enabled_plugins": ["rabbitmq_management", "rabbitmq_prometheus"],
        "cluster_links": [],
        "config_files": [],
        "db_dir": "",
        "log_files": [],
        "net_ticktime": 60,
    })
}

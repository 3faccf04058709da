//! Virtual hosts, users, permissions, limits, policies and parameters.

use axum::http::Method;
use forebay_access::{
    Access, ApplyTo, GlobalParameter, Hashing, Parameter, PasswordHash, Pattern, Permission,
    Policy, PolicyKind, Tag, TopicPermission, User, UserLimits, Vhost, VhostLimits, prefix_of,
};
use forebay_broker::{
    Command, ExchangeConfig, ExchangeKind, Expectation, Refusal, SettingChange, namespace,
};
use serde_json::{Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::desk::Desk;
use crate::resources;
use crate::routes::{Asked, administrators};

/// Everything that is a setting, policies aside.
pub(crate) async fn answer(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    match path {
        ["vhosts", rest @ ..] => vhosts(asked, method, rest).await,
        ["vhost-limits", rest @ ..] => vhost_limits(asked, method, rest).await,
        ["users", rest @ ..] => users(asked, method, rest).await,
        ["user-limits", rest @ ..] => user_limits(asked, method, rest).await,
        ["permissions", rest @ ..] => permissions(asked, method, rest).await,
        ["topic-permissions", rest @ ..] => topic_permissions(asked, method, rest).await,
        ["parameters", rest @ ..] => parameters(asked, method, rest).await,
        ["global-parameters", rest @ ..] => global_parameters(asked, method, rest).await,
        _ => Err(Wrong::NotFound),
    }
}

/// A change; 201 if it made something, 204 else.
async fn change(asked: &Asked<'_>, was_there: bool, changes: Vec<SettingChange>) -> Result {
    asked.desk.keeper.change(|_| changes).await?;
    Ok(match was_there {
        true => Answer::Done,
        false => Answer::Created,
    })
}

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body[key].as_str().unwrap_or_default()
}

/// Tags as a list, or as a text with commas between them.
pub(crate) fn tags(value: &Value) -> Vec<String> {
    let own = |text: &str| text.trim().to_owned();
    let list: Vec<String> = match value {
        Value::String(text) => text.split(',').map(own).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(own).collect(),
        _ => Vec::new(),
    };
    list.into_iter().filter(|tag| !tag.is_empty()).collect()
}

fn regex(text: &str) -> Result<()> {
    Pattern::new(text)
        .map(|_| ())
        .map_err(|error| Wrong::Request(error.to_string()))
}

// ---- virtual hosts -----------------------------------------------------------------------------

async fn vhost_json(desk: &Desk, name: &str, vhost: &Vhost) -> Result<Value> {
    let (stats, work) = resources::sums(desk, Some(name)).await?;
    let stats = stats.get(name).copied().unwrap_or_default();
    Ok(json!({
        "name": name,
        "description": vhost.description,
        "tags": vhost.tags,
        "default_queue_type": vhost.default_queue_type.as_deref().unwrap_or("classic"),
        "metadata": {"description": vhost.description, "tags": vhost.tags},
        "protected_from_deletion": false,
        "tracing": false,
        "cluster_state": {crate::overview::NODE: "running"},
        "messages": stats.ready + stats.leased,
        "messages_ready": stats.ready,
        "messages_unacknowledged": stats.leased,
        "message_stats": resources::message_stats(&work, Default::default()),
        "recv_oct": 0,
        "send_oct": 0,
    }))
}

async fn vhosts(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    let access = &asked.caller.access;
    let desk = asked.desk;
    match (method, path) {
        (&Method::GET, []) => {
            let mut shown = Vec::new();
            for (name, vhost) in access
                .vhosts()
                .iter()
                .filter(|(name, _)| asked.caller.sees(name))
            {
                shown.push(vhost_json(desk, name, vhost).await?);
            }
            asked.list(shown)
        }
        (&Method::PUT, [name]) => {
            administrators(asked)?;
            put_vhost(desk, name, &asked.json()?).await?;
            Ok(match access.vhosts().contains_key(*name) {
                true => Answer::Done,
                false => Answer::Created,
            })
        }
        (_, [name, ..]) if !access.vhosts().contains_key(*name) => Err(Wrong::NotFound),
        (&Method::GET, [name]) => {
            asked.caller.must_see(name)?;
            let vhost = access.vhosts().get(*name).ok_or(Wrong::NotFound)?;
            asked.one(Some(vhost_json(desk, name, vhost).await?))
        }
        (&Method::DELETE, [name]) => {
            administrators(asked)?;
            if *name == forebay_access::ROOT {
                let text = "the virtual host / holds what other protocols made, and stays";
                return Err(Wrong::Request(text.into()));
            }
            delete_vhost(desk, name).await?;
            Ok(Answer::Done)
        }
        (&Method::GET, [name, what @ ("permissions" | "topic-permissions")]) => {
            administrators(asked)?;
            let mut all = match *what {
                "permissions" => all_permissions(access),
                _ => all_topic_permissions(access),
            };
            all.retain(|one| one["vhost"] == **name);
            asked.list(all)
        }
        (&Method::POST, [_, "start", _]) => Ok(Answer::Done),
        _ => Err(Wrong::NotFound),
    }
}

/// Puts a virtual host there, with the exchanges each has, or changes what is said of it.
pub(crate) async fn put_vhost(desk: &Desk, name: &str, body: &Value) -> Result<()> {
    // A queue's name needs room beside it.
    if name.is_empty() || name.len() > 128 {
        return Err(Wrong::Request(
            "a virtual host's name has 1 to 128 bytes".into(),
        ));
    }
    let known = desk.keeper.now().vhosts().get(name).cloned();
    let mut vhost = known.clone().unwrap_or_default();
    let said = |key: &str| match (&body[key], &body["metadata"][key]) {
        (Value::Null, Value::Null) => None,
        (Value::Null, value) | (value, _) => Some(value.clone()),
    };
    if let Some(value) = said("description") {
        vhost.description = value.as_str().unwrap_or_default().to_owned();
    }
    if let Some(value) = said("tags") {
        vhost.tags = tags(&value);
    }
    if let Some(value) = said("default_queue_type") {
        let kind = value.as_str().filter(|kind| *kind != "undefined");
        vhost.default_queue_type = kind.map(str::to_owned);
    }
    let prefix = prefix_of(name);
    if known.is_none() && !prefix.is_empty() {
        for (exchange, kind) in BUILT_IN {
            let command = Command::DeclareExchange {
                name: format!("{prefix}{exchange}").into(),
                config: ExchangeConfig {
                    kind,
                    durable: true,
                    auto_delete: false,
                    internal: false,
                    labels: Default::default(),
                    alternate: None,
                },
            };
            match desk.broker.call(command).await {
                Ok(_) | Err(Refusal::ExchangeExists(_)) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
    let change = Access::put_vhost(name, &vhost);
    Ok(desk.keeper.change(|_| vec![change]).await?)
}

const BUILT_IN: [(&str, ExchangeKind); 5] = [
    ("amq.direct", ExchangeKind::Direct),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.headers", ExchangeKind::Fields),
    ("amq.match", ExchangeKind::Fields),
    ("amq.topic", ExchangeKind::Topic),
];

/// Takes a virtual host away: first nobody comes in any more, then its connections end, then its
/// queues and exchanges go. If the program ends in between, what is left is in nobody's way, and
/// is there again if the virtual host is.
async fn delete_vhost(desk: &Desk, name: &str) -> Result<()> {
    desk.keeper.change(|now| now.remove_vhost(name)).await?;
    let reason = format!("vhost '{name}' is deleted");
    desk.server.roster().close_vhost(name, &reason);
    let prefix = prefix_of(name);
    let of_it = |name: &str| namespace::split(name).0 == prefix;
    for topic in desk.broker.directory().topics(&prefix, None, usize::MAX) {
        // One that belongs to a connection goes with it.
        if of_it(&topic.name) && topic.config.exclusive.is_none() {
            let deleted = desk.broker.delete_topic(topic.id, Expectation::default());
            ignore_missing(deleted.await.map(|_| ()))?;
        }
    }
    for exchange in desk.broker.directory().exchanges() {
        let reserved = BUILT_IN
            .iter()
            .any(|(built_in, _)| namespace::split(&exchange.name).1 == *built_in);
        if of_it(&exchange.name) && !reserved {
            let command = Command::DeleteExchange {
                name: exchange.name.clone(),
                if_unused: false,
            };
            ignore_missing(desk.broker.call(command).await.map(|_| ()))?;
        }
    }
    Ok(())
}

fn ignore_missing(result: std::result::Result<(), Refusal>) -> Result<()> {
    match result {
        Err(Refusal::Stopping) => Err(Refusal::Stopping.into()),
        _ => Ok(()),
    }
}

async fn vhost_limits(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    let access = &asked.caller.access;
    match (method, path) {
        (&Method::GET, [] | [_]) => {
            let names = access.vhosts().keys();
            let here = names.filter(|name| path.is_empty() || path == [name.as_str()]);
            let shown = here
                .filter(|name| asked.caller.sees(name))
                .filter_map(|name| {
                    let limits = access.vhost_limits(name);
                    (limits != VhostLimits::default())
                        .then(|| json!({"vhost": name, "value": limits}))
                });
            asked.list(shown.collect())
        }
        (&Method::PUT | &Method::DELETE, [vhost, name]) => {
            administrators(asked)?;
            if !access.vhosts().contains_key(*vhost) {
                return Err(Wrong::NotFound);
            }
            let value = limit_of(asked, method)?;
            let mut limits = access.vhost_limits(vhost);
            match *name {
                "max-connections" => limits.max_connections = value,
                "max-queues" => limits.max_queues = value,
                other => return Err(Wrong::Request(format!("unknown limit {other}"))),
            }
            change(asked, true, vec![Access::put_vhost_limits(vhost, &limits)]).await
        }
        _ => Err(Wrong::NotFound),
    }
}

fn limit_of(asked: &Asked<'_>, method: &Method) -> Result<Option<i64>> {
    match *method {
        Method::DELETE => Ok(None),
        _ => match asked.json()?["value"].as_i64() {
            Some(value) => Ok(Some(value)),
            None => Err(Wrong::Request("value is missing or no number".into())),
        },
    }
}

// ---- users -------------------------------------------------------------------------------------

/// A user as the API and files of definitions show it.
pub(crate) fn user_json(access: &Access, name: &str, user: &User) -> Value {
    json!({
        "name": name,
        "password_hash": user.password_hash,
        "hashing_algorithm": user.hashing_algorithm,
        "tags": user.tags,
        "limits": access.user_limits(name),
    })
}

/// The user a body describes: by password, by hash, or with neither.
pub(crate) fn read_user(body: &Value, known: Option<&User>) -> Result<User> {
    let hashing = match &body["hashing_algorithm"] {
        Value::Null => Hashing::default(),
        value => serde_json::from_value(value.clone())
            .map_err(|_| Wrong::Request(format!("unknown hashing algorithm {value}")))?,
    };
    let hash = match (body["password"].as_str(), body["password_hash"].as_str()) {
        (Some(password), _) => PasswordHash::of(password, hashing),
        (None, Some(text)) => PasswordHash {
            text: text.to_owned(),
            hashing,
        },
        (None, None) => known.map(User::password).unwrap_or_default(),
    };
    if !hash.is_well_formed() {
        return Err(Wrong::Request(
            "password_hash is no hash of this kind".into(),
        ));
    }
    let tags = match &body["tags"] {
        Value::Null => known.map(|known| known.tags.clone()).unwrap_or_default(),
        value => tags(value),
    };
    Ok(User {
        password_hash: hash.text,
        hashing_algorithm: hash.hashing,
        tags,
    })
}

async fn users(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    administrators(asked)?;
    let access = &asked.caller.access;
    let users = access.users();
    match (method, path) {
        (&Method::GET, []) => {
            let all = users.iter();
            asked.list(
                all.map(|(name, user)| user_json(access, name, user))
                    .collect(),
            )
        }
        (&Method::GET, ["without-permissions"]) => {
            let entitled = |name: &str| access.permissions().any(|(_, user, _)| user == name);
            let all = users.iter().filter(|(name, _)| !entitled(name));
            asked.list(
                all.map(|(name, user)| user_json(access, name, user))
                    .collect(),
            )
        }
        (&Method::POST, ["bulk-delete"]) => {
            let body = asked.json()?;
            let names: Vec<String> = body["users"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            for name in &names {
                delete_user(asked.desk, name).await?;
            }
            Ok(Answer::Done)
        }
        (&Method::PUT, [name]) => {
            let known = users.get(*name);
            let user = read_user(&asked.json()?, known)?;
            change(asked, known.is_some(), vec![Access::put_user(name, &user)]).await
        }
        (_, [name, ..]) if !users.contains_key(*name) => Err(Wrong::NotFound),
        (&Method::GET, [name]) => {
            asked.one(users.get(*name).map(|user| user_json(access, name, user)))
        }
        (&Method::DELETE, [name]) => {
            delete_user(asked.desk, name).await?;
            Ok(Answer::Done)
        }
        (&Method::GET, [name, what @ ("permissions" | "topic-permissions")]) => {
            let mut all = match *what {
                "permissions" => all_permissions(access),
                _ => all_topic_permissions(access),
            };
            all.retain(|one| one["user"] == **name);
            asked.list(all)
        }
        _ => Err(Wrong::NotFound),
    }
}

async fn delete_user(desk: &Desk, name: &str) -> Result<()> {
    desk.keeper.change(|now| now.remove_user(name)).await?;
    let reason = format!("user '{name}' is deleted");
    desk.server.roster().close_user(name, &reason);
    Ok(())
}

async fn user_limits(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    let access = &asked.caller.access;
    match (method, path) {
        (&Method::GET, [] | [_]) => {
            let names = access.users().keys();
            let here = names.filter(|name| path.is_empty() || path == [name.as_str()]);
            let shown = here.filter_map(|name| {
                let limits = access.user_limits(name);
                (limits != UserLimits::default()).then(|| json!({"user": name, "value": limits}))
            });
            asked.list(shown.collect())
        }
        (&Method::PUT | &Method::DELETE, [user, name]) => {
            administrators(asked)?;
            if !access.users().contains_key(*user) {
                return Err(Wrong::NotFound);
            }
            let value = limit_of(asked, method)?;
            let mut limits = access.user_limits(user);
            match *name {
                "max-connections" => limits.max_connections = value,
                "max-channels" => limits.max_channels = value,
                other => return Err(Wrong::Request(format!("unknown limit {other}"))),
            }
            change(asked, true, vec![Access::put_user_limits(user, &limits)]).await
        }
        _ => Err(Wrong::NotFound),
    }
}

// ---- permissions -------------------------------------------------------------------------------

pub(crate) fn all_permissions(access: &Access) -> Vec<Value> {
    let all = access.permissions();
    all.map(|(vhost, user, one)| {
        json!({
            "user": user, "vhost": vhost,
            "configure": one.configure, "write": one.write, "read": one.read,
        })
    })
    .collect()
}

pub(crate) fn all_topic_permissions(access: &Access) -> Vec<Value> {
    let all = access.topic_permissions();
    all.map(|(vhost, user, one)| {
        json!({
            "user": user, "vhost": vhost,
            "exchange": one.exchange, "write": one.write, "read": one.read,
        })
    })
    .collect()
}

/// The permission a body describes.
pub(crate) fn read_permission(body: &Value) -> Result<Permission> {
    for key in ["configure", "write", "read"] {
        let given = body[key].as_str();
        regex(given.ok_or_else(|| Wrong::Request(format!("{key} is missing")))?)?;
    }
    Ok(Permission {
        configure: text(body, "configure").to_owned(),
        write: text(body, "write").to_owned(),
        read: text(body, "read").to_owned(),
    })
}

/// A user's topic permissions in a virtual host with one put among them.
pub(crate) fn with_topic_permission(
    access: &Access,
    vhost: &str,
    user: &str,
    body: &Value,
) -> Result<SettingChange> {
    let one = TopicPermission {
        exchange: match text(body, "exchange") {
            "amq.default" => String::new(),
            name => name.to_owned(),
        },
        write: text(body, "write").to_owned(),
        read: text(body, "read").to_owned(),
    };
    regex(&one.write)?;
    regex(&one.read)?;
    let mut list = topic_permissions_of(access, vhost, user);
    list.retain(|other| other.exchange != one.exchange);
    list.push(one);
    Ok(Access::put_topic_permissions(vhost, user, &list))
}

fn topic_permissions_of(access: &Access, vhost: &str, user: &str) -> Vec<TopicPermission> {
    let all = access.topic_permissions();
    let own = all.filter(|(at, of, _)| *at == vhost && *of == user);
    own.map(|(_, _, one)| one.clone()).collect()
}

fn both_there(access: &Access, vhost: &str, user: &str) -> Result<()> {
    let there = access.vhosts().contains_key(vhost) && access.users().contains_key(user);
    match there {
        true => Ok(()),
        false => Err(Wrong::NotFound),
    }
}

async fn permissions(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    administrators(asked)?;
    let access = &asked.caller.access;
    let Some([vhost, user]) = path.first_chunk() else {
        return match method == Method::GET && path.is_empty() {
            true => asked.list(all_permissions(access)),
            false => Err(Wrong::NotFound),
        };
    };
    both_there(access, vhost, user)?;
    let mut all = all_permissions(access);
    all.retain(|one| one["vhost"] == **vhost && one["user"] == **user);
    let was_there = !all.is_empty();
    match *method {
        Method::GET => asked.one(all.into_iter().next()),
        Method::PUT => {
            let permission = read_permission(&asked.json()?)?;
            let put = Access::put_permission(vhost, user, &permission);
            change(asked, was_there, vec![put]).await
        }
        Method::DELETE if !was_there => Err(Wrong::NotFound),
        Method::DELETE => change(asked, true, vec![Access::remove_permission(vhost, user)]).await,
        _ => Err(Wrong::Method),
    }
}

async fn topic_permissions(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    administrators(asked)?;
    let access = &asked.caller.access;
    let Some([vhost, user]) = path.first_chunk() else {
        return match method == Method::GET && path.is_empty() {
            true => asked.list(all_topic_permissions(access)),
            false => Err(Wrong::NotFound),
        };
    };
    both_there(access, vhost, user)?;
    let mut all = all_topic_permissions(access);
    all.retain(|one| one["vhost"] == **vhost && one["user"] == **user);
    if let Some(exchange) = path.get(2) {
        all.retain(|one| one["exchange"] == **exchange);
    }
    match *method {
        Method::GET if all.is_empty() => Err(Wrong::NotFound),
        Method::GET => asked.list(all),
        Method::PUT => {
            let put = with_topic_permission(access, vhost, user, &asked.json()?)?;
            change(asked, !all.is_empty(), vec![put]).await
        }
        Method::DELETE if all.is_empty() => Err(Wrong::NotFound),
        Method::DELETE => {
            let mut list = topic_permissions_of(access, vhost, user);
            match path.get(2) {
                Some(exchange) => list.retain(|one| one.exchange != **exchange),
                None => list.clear(),
            }
            let put = Access::put_topic_permissions(vhost, user, &list);
            change(asked, true, vec![put]).await
        }
        _ => Err(Wrong::Method),
    }
}

// ---- policies ----------------------------------------------------------------------------------

/// A policy as the API and files of definitions show it.
pub(crate) fn policy_json(vhost: &str, name: &str, policy: &Policy) -> Value {
    json!({
        "vhost": vhost,
        "name": name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": policy.definition,
        "priority": policy.priority,
    })
}

/// The policy a body describes.
pub(crate) fn read_policy(kind: PolicyKind, body: &Value) -> Result<Policy> {
    let pattern = body["pattern"].as_str();
    let pattern = pattern.ok_or_else(|| Wrong::Request("pattern is missing".into()))?;
    regex(pattern)?;
    let missing = match kind {
        PolicyKind::User => ApplyTo::All,
        PolicyKind::Operator => ApplyTo::Queues,
    };
    let apply_to = match &body["apply-to"] {
        Value::Null => missing,
        value => value
            .as_str()
            .and_then(ApplyTo::named)
            .ok_or_else(|| Wrong::Request(format!("apply-to cannot be {value}")))?,
    };
    let definition = body["definition"].as_object();
    let definition = definition.filter(|definition| !definition.is_empty());
    let definition = definition.ok_or_else(|| Wrong::Request("definition is missing".into()))?;
    let priority = match &body["priority"] {
        Value::Null => 0,
        Value::String(text) => text.parse().unwrap_or_default(),
        value => value
            .as_i64()
            .ok_or_else(|| Wrong::Request(format!("priority cannot be {value}")))?,
    };
    Ok(Policy {
        pattern: pattern.to_owned(),
        apply_to,
        definition: definition.clone().into_iter().collect(),
        priority,
    })
}

/// Policies of one kind.
pub(crate) async fn policies(
    asked: &Asked<'_>,
    method: &Method,
    kind: PolicyKind,
    path: &[&str],
) -> Result {
    let access = &asked.caller.access;
    let seen = access.policies(kind).filter(|(vhost, name, _)| {
        let here = path.first().is_none_or(|at| at == vhost);
        let named = path.get(1).is_none_or(|wanted| wanted == name);
        here && named && asked.caller.sees(vhost)
    });
    let seen = seen.map(|(vhost, name, policy)| policy_json(vhost, name, policy));
    let seen: Vec<Value> = seen.collect();
    if let Some(vhost) = path.first() {
        asked.caller.must_see(vhost)?;
    }
    match (method, path) {
        (&Method::GET, [] | [_]) => asked.list(seen),
        (&Method::GET, [_, _]) => asked.one(seen.into_iter().next()),
        (&Method::PUT | &Method::DELETE, [vhost, name]) => {
            asked.caller.must_have(match kind {
                PolicyKind::User => Tag::Policymaker,
                PolicyKind::Operator => Tag::Administrator,
            })?;
            let changed = match *method {
                Method::PUT => {
                    let policy = read_policy(kind, &asked.json()?)?;
                    Access::put_policy(kind, vhost, name, &policy)
                }
                _ if seen.is_empty() => return Err(Wrong::NotFound),
                _ => Access::remove_policy(kind, vhost, name),
            };
            let done = change(asked, !seen.is_empty(), vec![changed]).await?;
            asked.desk.apply_policies(vhost).await?;
            Ok(done)
        }
        _ => Err(Wrong::NotFound),
    }
}

// ---- parameters --------------------------------------------------------------------------------

pub(crate) fn parameter_json(one: &Parameter) -> Value {
    json!({
        "component": one.component, "vhost": one.vhost, "name": one.name, "value": one.value,
    })
}

/// Limits of virtual hosts are parameters too, by their name in files of definitions.
pub(crate) const VHOST_LIMITS: &str = "vhost-limits";

async fn parameters(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    asked.caller.must_have(Tag::Policymaker)?;
    let access = &asked.caller.access;
    let known = access.parameters().iter().filter(|one| {
        let own = [&one.component, &one.vhost, &one.name];
        path.iter().zip(own).all(|(wanted, own)| wanted == own)
    });
    let known: Vec<Value> = known.map(parameter_json).collect();
    match (method, path) {
        (&Method::GET, [] | [_] | [_, _]) => asked.list(known),
        (&Method::GET, [_, _, _]) => asked.one(known.into_iter().next()),
        (&Method::PUT, [component, vhost, name]) => {
            asked.caller.must_see(vhost)?;
            let parameter = Parameter {
                component: (*component).to_owned(),
                vhost: (*vhost).to_owned(),
                name: (*name).to_owned(),
                value: asked.json()?["value"].take(),
            };
            let put = Access::put_parameter(&parameter);
            change(asked, !known.is_empty(), vec![put]).await
        }
        (&Method::DELETE, [component, vhost, name]) if !known.is_empty() => {
            let remove = Access::remove_parameter(component, vhost, name);
            change(asked, true, vec![remove]).await
        }
        _ => Err(Wrong::NotFound),
    }
}

async fn global_parameters(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    asked.caller.must_have(Tag::Policymaker)?;
    let known = asked.caller.access.global_parameters().iter();
    let known = known.filter(|(name, _)| path.first().is_none_or(|wanted| wanted == name));
    let known: Vec<GlobalParameter> = known
        .map(|(name, value)| GlobalParameter {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    let mut shown = known
        .iter()
        .map(|one| json!({"name": one.name, "value": one.value}));
    match (method, path) {
        (&Method::GET, []) => asked.list(shown.collect()),
        (&Method::GET, [_]) => asked.one(shown.next()),
        (&Method::PUT, [name]) => {
            administrators(asked)?;
            let put = Access::put_global_parameter(name, &asked.json()?["value"]);
            change(asked, !known.is_empty(), vec![put]).await
        }
        (&Method::DELETE, [name]) if !known.is_empty() => {
            administrators(asked)?;
            change(asked, true, vec![Access::remove_global_parameter(name)]).await
        }
        _ => Err(Wrong::NotFound),
    }
}

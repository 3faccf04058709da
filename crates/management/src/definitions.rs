//! Definitions: all that is declared and set, as one JSON document in RabbitMQ's form
//! (<https://www.rabbitmq.com/docs/definitions>). A document that RabbitMQ wrote can be imported,
//! and RabbitMQ can import one from here.

use std::sync::Arc;

use axum::http::Method;
use forebay_access::{Access, Parameter, PolicyKind, UserLimits, VhostLimits};
use forebay_broker::SettingChange;
use serde_json::{Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::caller::Caller;
use crate::desk::Management;
use crate::overview::RABBITMQ_VERSION;
use crate::routes::{Asked, administrators};
use crate::{listing, operate, resources, settings};

/// What could not be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportError(pub String);

impl std::fmt::Display for ImportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ImportError {}

/// Imports a document for the one who runs the program, who may do everything.
///
/// # Errors
/// What is wrong with it. What came before that in the document's order is imported then.
pub async fn import(
    management: &Management,
    document: &[u8],
) -> std::result::Result<(), ImportError> {
    let desk = &management.desk;
    let caller = Caller {
        user: String::new(),
        unlimited: true,
        access: desk.keeper.now(),
    };
    let asked = Asked {
        desk,
        caller: &caller,
        query: &listing::Query::new(),
        body: document,
    };
    let words = |wrong: Wrong| match wrong {
        Wrong::Request(text) | Wrong::Unavailable(text) => ImportError(text),
        Wrong::NotAllowed(text) => ImportError(text.to_owned()),
        Wrong::NotFound => ImportError("it names something that is not there".into()),
        Wrong::Method => ImportError("the method is not allowed here".into()),
    };
    let body = asked.json().map_err(words)?;
    take_in(&asked, &body, None).await.map_err(words)
}

/// `definitions` and `definitions/VHOST`.
pub(crate) async fn answer(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    administrators(asked)?;
    let vhost = path.get(1).copied();
    if let Some(vhost) = vhost {
        asked.caller.must_see(vhost)?;
    }
    match *method {
        Method::GET => Ok(Answer::Json(export(asked, vhost).await?)),
        Method::POST => {
            let body = match multipart(asked.body) {
                Some(file) => serde_json::from_slice(file)
                    .map_err(|error| Wrong::Request(format!("not_json: {error}")))?,
                None => asked.json()?,
            };
            take_in(asked, &body, vhost).await?;
            Ok(Answer::Done)
        }
        _ => Err(Wrong::Method),
    }
}

/// A browser's form sends the file between boundaries: the part from the first brace to the last.
fn multipart(body: &[u8]) -> Option<&[u8]> {
    if !body.starts_with(b"--") {
        return None;
    }
    let first = body.iter().position(|byte| *byte == b'{')?;
    let last = body.iter().rposition(|byte| *byte == b'}')?;
    body.get(first..=last)
}

// ---- out ---------------------------------------------------------------------------------------

async fn export(asked: &Asked<'_>, vhost: Option<&str>) -> Result<Value> {
    let access = &asked.caller.access;
    let here = |value: &Value| vhost.is_none_or(|vhost| value["vhost"] == vhost);
    // A document of one virtual host does not name it.
    let own = |mut value: Value, keys: &[&str]| {
        let object = value.as_object_mut();
        if let Some(object) = object {
            object.retain(|key, value| {
                let told = keys.contains(&key.as_str()) && (key != "vhost" || vhost.is_none());
                told && !(key == "policy" || value.is_null())
            });
        }
        value
    };
    let queues = resources::queues(asked, vhost).await?.into_iter();
    let queues = queues.filter(|queue| queue["exclusive"] == false);
    let queue_keys = [
        "name",
        "vhost",
        "durable",
        "auto_delete",
        "arguments",
        "type",
    ];
    let exchanges = resources::exchanges(asked, vhost).into_iter();
    let exchanges = exchanges.filter(|exchange| {
        let name = exchange["name"].as_str().unwrap_or_default();
        !name.is_empty() && !name.starts_with("amq.")
    });
    let exchange_keys = [
        "name",
        "vhost",
        "type",
        "durable",
        "auto_delete",
        "internal",
        "arguments",
    ];
    let bindings = resources::bindings(asked, vhost).await?.into_iter();
    let bindings = bindings.filter(|binding| binding["source"] != "");
    let binding_keys = [
        "source",
        "vhost",
        "destination",
        "destination_type",
        "routing_key",
        "arguments",
    ];
    let policies = |kind| {
        let all = access.policies(kind);
        let all = all.map(|(vhost, name, policy)| settings::policy_json(vhost, name, policy));
        let keys = [
            "vhost",
            "name",
            "pattern",
            "apply-to",
            "definition",
            "priority",
        ];
        all.filter(|one| here(one))
            .map(|one| own(one, &keys))
            .collect::<Vec<_>>()
    };
    let limits = access.vhosts().keys().filter_map(|name| {
        let limits = access.vhost_limits(name);
        (limits != VhostLimits::default()).then(|| {
            json!({
                "component": settings::VHOST_LIMITS, "vhost": name, "name": "limits",
                "value": limits,
            })
        })
    });
    let parameters = access.parameters().iter().map(settings::parameter_json);
    let parameters = parameters.chain(limits).filter(|one| here(one));
    let parameter_keys = ["component", "vhost", "name", "value"];
    let mut document = json!({
        "rabbit_version": RABBITMQ_VERSION,
        "rabbitmq_version": RABBITMQ_VERSION,
        "product_name": "Forebay",
        "product_version": asked.desk.options.version,
        "rabbitmq_definition_format": if vhost.is_some() { "single_virtual_host" } else { "cluster" },
        "parameters": parameters.map(|one| own(one, &parameter_keys)).collect::<Vec<_>>(),
        "policies": policies(PolicyKind::User),
        "operator_policies": policies(PolicyKind::Operator),
        "queues": queues.map(|one| own(one, &queue_keys)).collect::<Vec<_>>(),
        "exchanges": exchanges.map(|one| own(one, &exchange_keys)).collect::<Vec<_>>(),
        "bindings": bindings.map(|one| own(one, &binding_keys)).collect::<Vec<_>>(),
    });
    match vhost {
        Some(vhost) => {
            let known = access.vhosts().get(vhost);
            let known = known.ok_or(Wrong::NotFound)?;
            document["description"] = json!(known.description);
            document["metadata"] = json!({"description": known.description, "tags": known.tags});
        }
        None => {
            let users = access.users().iter();
            let users = users.map(|(name, user)| settings::user_json(access, name, user));
            document["users"] = users.collect();
            let vhosts = access.vhosts().iter().map(|(name, vhost)| {
                json!({
                    "name": name,
                    "description": vhost.description,
                    "tags": vhost.tags,
                    "default_queue_type": vhost.default_queue_type,
                    "metadata": {"description": vhost.description, "tags": vhost.tags},
                })
            });
            document["vhosts"] = vhosts.collect();
            document["permissions"] = settings::all_permissions(access).into();
            document["topic_permissions"] = settings::all_topic_permissions(access).into();
            let global = access.global_parameters().iter();
            let global = global.map(|(name, value)| json!({"name": name, "value": value}));
            document["global_parameters"] = global.collect();
        }
    }
    Ok(document)
}

// ---- in ----------------------------------------------------------------------------------------

fn items<'a>(document: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    document[key].as_array().into_iter().flatten()
}

fn text<'a>(item: &'a Value, key: &str) -> &'a str {
    item[key].as_str().unwrap_or_default()
}

/// The same error with what it is about before it.
fn about<T>(what: &str, item: &Value, result: Result<T>) -> Result<T> {
    result.map_err(|wrong| {
        let name = match what {
            "binding" => format!("{} -> {}", text(item, "source"), text(item, "destination")),
            "permission" => text(item, "user").to_owned(),
            _ => text(item, "name").to_owned(),
        };
        match wrong {
            Wrong::Request(why) => Wrong::Request(format!("{what} '{name}': {why}")),
            Wrong::NotFound => Wrong::Request(format!("{what} '{name}': not found")),
            other => other,
        }
    })
}

/// Takes a document in, in RabbitMQ's order. What is there already stays as it is, if it is of the
/// same kind; nothing is taken away.
async fn take_in(asked: &Asked<'_>, document: &Value, vhost: Option<&str>) -> Result<()> {
    if !document.is_object() {
        return Err(Wrong::Request(
            "a file of definitions is a JSON object".into(),
        ));
    }
    let keeper = &asked.desk.keeper;
    let mut changes = Vec::new();
    for item in items(document, "users") {
        let name = text(item, "name");
        let user = about("user", item, settings::read_user(item, None))?;
        changes.push(Access::put_user(name, &user));
        if let Ok(limits) = serde_json::from_value::<UserLimits>(item["limits"].clone()) {
            changes.push(Access::put_user_limits(name, &limits));
        }
    }
    keeper.change(|_| changes).await?;
    for item in items(document, "vhosts") {
        let put = settings::put_vhost(asked.desk, text(item, "name"), item).await;
        about("vhost", item, put)?;
    }
    let place = |item: &Value| match vhost {
        Some(vhost) => vhost.to_owned(),
        None => match text(item, "vhost") {
            "" => forebay_access::ROOT.to_owned(),
            named => named.to_owned(),
        },
    };
    let changes = read_settings(document, &place)?;
    keeper.change(|_| changes).await?;
    for item in items(document, "topic_permissions") {
        let (at, now) = (place(item), keeper.now());
        let put = settings::with_topic_permission(&now, &at, text(item, "user"), item);
        let put = about("permission", item, put)?;
        keeper.change(|_| vec![put]).await?;
    }
    declare(asked, document, &place).await?;
    for vhost in keeper.now().vhosts().keys() {
        asked.desk.apply_policies(vhost).await?;
    }
    Ok(())
}

/// Permissions, policies and parameters.
fn read_settings(
    document: &Value,
    place: &(dyn Fn(&Value) -> String + Sync),
) -> Result<Vec<SettingChange>> {
    let mut changes = Vec::new();
    for item in items(document, "permissions") {
        let permission = about("permission", item, settings::read_permission(item))?;
        let change = Access::put_permission(&place(item), text(item, "user"), &permission);
        changes.push(change);
    }
    let kinds = [
        ("policies", PolicyKind::User),
        ("operator_policies", PolicyKind::Operator),
    ];
    for (key, kind) in kinds {
        for item in items(document, key) {
            let policy = about("policy", item, settings::read_policy(kind, item))?;
            changes.push(Access::put_policy(
                kind,
                &place(item),
                text(item, "name"),
                &policy,
            ));
        }
    }
    for item in items(document, "parameters") {
        let component = text(item, "component");
        if component == settings::VHOST_LIMITS {
            let limits = serde_json::from_value(item["value"].clone());
            let limits: VhostLimits =
                limits.map_err(|error| Wrong::Request(format!("limits: {error}")))?;
            changes.push(Access::put_vhost_limits(&place(item), &limits));
            continue;
        }
        changes.push(Access::put_parameter(&Parameter {
            component: component.to_owned(),
            vhost: place(item),
            name: text(item, "name").to_owned(),
            value: item["value"].clone(),
        }));
    }
    for item in items(document, "global_parameters") {
        changes.push(Access::put_global_parameter(
            text(item, "name"),
            &item["value"],
        ));
    }
    Ok(changes)
}

/// Queues, exchanges and bindings. Whoever may take definitions in may declare all that is in them.
async fn declare(
    asked: &Asked<'_>,
    document: &Value,
    place: &(dyn Fn(&Value) -> String + Sync),
) -> Result<()> {
    let caller = Caller {
        user: asked.caller.user.clone(),
        unlimited: true,
        access: Arc::clone(&asked.desk.keeper.now()),
    };
    let asked = &Asked {
        caller: &caller,
        ..*asked
    };
    for item in items(document, "queues") {
        let mut item = item.clone();
        let kind = item["type"].as_str().filter(|kind| *kind != "classic");
        if let Some(kind) = kind.map(str::to_owned)
            && item["arguments"]["x-queue-type"].is_null()
        {
            if !item["arguments"].is_object() {
                item["arguments"] = json!({});
            }
            item["arguments"]["x-queue-type"] = json!(kind);
        }
        let at = place(&item);
        let declared = operate::declare_queue(asked, &at, text(&item, "name"), &item).await;
        about("queue", &item, declared)?;
    }
    for item in items(document, "exchanges") {
        if text(item, "name").starts_with("amq.") || text(item, "name").is_empty() {
            continue;
        }
        let at = place(item);
        let declared = operate::declare_exchange(asked, &at, text(item, "name"), item).await;
        about("exchange", item, declared)?;
    }
    for item in items(document, "bindings") {
        let at = place(item);
        let bound = operate::define_binding(asked, &at, item).await;
        about("binding", item, bound)?;
    }
    Ok(())
}

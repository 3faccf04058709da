//! Class exchange, and bindings of queues and exchanges alike.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, exchange};
use amq_protocol::types::FieldTable;
use forebay_broker::{Command, Destination, ExchangeConfig, ExchangeInfo, ExchangeKind};
use forebay_broker::{Refusal, Reply};

use crate::arguments::{Arguments, canonical, check_field};
use crate::connection::{Connection, World};
use crate::control::Control;
use crate::error::{Code, Fault, Subject, refused};
use crate::method;
use crate::methods::{Call, unimplemented_method};
use crate::policies;
use crate::route;

/// Names that begin so are the server's own.
pub(crate) const RESERVED_PREFIX: &str = "amq.";

const ALTERNATE: &str = "alternate-exchange";

/// An exchange as the client wants it.
#[derive(Debug)]
pub(crate) struct Declaration {
    name: Arc<str>,
    config: ExchangeConfig,
    arguments: Arguments,
}

/// A binding to make or unmake, and how to answer.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) binding: forebay_broker::Binding,
    pub(crate) answer: AMQPClass,
    /// Removing what is not there is no error.
    pub(crate) removes: bool,
}

pub(crate) fn dispatch(
    link: &mut Connection,
    mut call: Call,
    method: exchange::AMQPMethod,
    world: World<'_>,
) -> Result<(), Fault> {
    use exchange::AMQPMethod as M;
    match method {
        M::Declare(method) => {
            call.nowait = method.nowait;
            declare(link, call, &method, world)
        }
        M::Delete(method) => {
            call.nowait = method.nowait;
            delete(link, call, &method, world)
        }
        M::Bind(method) => {
            call.nowait = method.nowait;
            let binding = Binding {
                binding: forebay_broker::Binding {
                    exchange: method.source.as_str().into(),
                    destination: Destination::Exchange(method.destination.as_str().into()),
                    key: method.routing_key.as_str().into(),
                    arguments: identity(&method.arguments, method.source.as_str(), world)?,
                },
                answer: AMQPClass::Exchange(M::BindOk(exchange::BindOk {})),
                removes: false,
            };
            bind(link, call, binding)
        }
        M::Unbind(method) => {
            call.nowait = method.nowait;
            let binding = Binding {
                binding: forebay_broker::Binding {
                    exchange: method.source.as_str().into(),
                    destination: Destination::Exchange(method.destination.as_str().into()),
                    key: method.routing_key.as_str().into(),
                    arguments: identity(&method.arguments, method.source.as_str(), world)?,
                },
                answer: AMQPClass::Exchange(M::UnbindOk(exchange::UnbindOk {})),
                removes: true,
            };
            bind(link, call, binding)
        }
        M::DeclareOk(_) | M::DeleteOk(_) | M::BindOk(_) | M::UnbindOk(_) => {
            Err(unimplemented_method())
        }
    }
}

fn default_exchange() -> Fault {
    Fault::new(
        Code::AccessRefused,
        "operation not permitted on the default exchange",
    )
}

/// The text of a binding's arguments: what an exchange of type headers asks for, else all of them
/// so that bindings that differ in them are two.
pub(crate) fn identity(
    arguments: &FieldTable,
    exchange: &str,
    world: World<'_>,
) -> Result<String, Fault> {
    let known = world.catalogue.exchange(exchange);
    match known {
        Some(known) if known.config.kind == ExchangeKind::Fields => {
            Ok(route::conditions(&method::table_bytes(arguments))?.to_text())
        }
        _ => Ok(canonical(arguments)),
    }
}

/// A name as RabbitMQ takes it: without line breaks.
pub(crate) fn strip(name: &str) -> String {
    name.replace(['\r', '\n'], "")
}

fn declare(
    link: &mut Connection,
    call: Call,
    method: &exchange::Declare,
    world: World<'_>,
) -> Result<(), Fault> {
    let name = strip(method.exchange.as_str());
    if method.passive {
        if name.is_empty() {
            return Err(default_exchange());
        }
        return match world.catalogue.exchange(&name) {
            Some(_) => answer_declare(link, call),
            None => Err(Fault::no_exchange(&name)),
        };
    }
    let mut declaration = wanted(&name, method)?;
    if declaration.config.alternate.is_none() {
        let vhost = link.scope.vhost();
        let alternate = policies::alternate(world.access, vhost, &name);
        declaration.config.alternate = alternate.map(Arc::from);
    }
    if name.is_empty() {
        return Err(default_exchange());
    }
    if name.starts_with(RESERVED_PREFIX) {
        if let Some(there) = world.catalogue.exchange(&name) {
            check_same(&there, &declaration)?;
            return answer_declare(link, call);
        }
        return Err(Fault::new(
            Code::AccessRefused,
            format!("exchange name '{name}' contains reserved prefix 'amq.*'"),
        ));
    }
    let command = Command::DeclareExchange {
        name: declaration.name.clone(),
        config: declaration.config.clone(),
    };
    link.ask(
        call.waits_for(Control::DeclareExchange(declaration)),
        command,
    );
    Ok(())
}

fn wanted(name: &str, method: &exchange::Declare) -> Result<Declaration, Fault> {
    let kind = match method.kind.as_str() {
        "direct" => ExchangeKind::Direct,
        "fanout" => ExchangeKind::Fanout,
        "topic" => ExchangeKind::Topic,
        "headers" => ExchangeKind::Fields,
        other => {
            return Err(Fault::precondition(format!(
                "unknown exchange type '{other}'"
            )));
        }
    };
    let arguments = Arguments::of(&method.arguments);
    let alternate = match arguments.get(ALTERNATE) {
        None => None,
        Some(given) => Some(given.text().map(Arc::from).ok_or_else(|| {
            Fault::precondition(format!(
                "invalid arg '{ALTERNATE}' for exchange '{name}' in vhost '/': \
                 {{unacceptable_type,{}}}",
                given.kind()
            ))
        })?),
    };
    Ok(Declaration {
        name: name.into(),
        config: ExchangeConfig {
            kind,
            durable: method.durable,
            auto_delete: method.auto_delete,
            internal: method.internal,
            labels: arguments.to_labels(),
            alternate,
        },
        arguments,
    })
}

/// Refuses arguments that would be broken promises.
pub(crate) fn refuse_unsupported(arguments: &Arguments, names: &[&str]) -> Result<(), Fault> {
    match names.iter().find(|name| arguments.get(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(Fault::precondition(format!(
            "argument '{name}' is not supported yet"
        ))),
    }
}

pub(crate) fn kind_name(kind: ExchangeKind) -> &'static str {
    match kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
        ExchangeKind::Fields => "headers",
    }
}

fn check_same(there: &ExchangeInfo, wanted: &Declaration) -> Result<(), Fault> {
    let shown = format!("exchange '{}' in vhost '/'", wanted.name);
    let (current, new) = (&there.config, &wanted.config);
    check_field("type", &shown, kind_name(new.kind), kind_name(current.kind))?;
    check_field("durable", &shown, new.durable, current.durable)?;
    check_field("auto_delete", &shown, new.auto_delete, current.auto_delete)?;
    check_field("internal", &shown, new.internal, current.internal)?;
    Arguments::from_labels(&current.labels).check_same(&wanted.arguments, &[ALTERNATE], &shown)
}

fn answer_declare(link: &mut Connection, call: Call) -> Result<(), Fault> {
    let answer = exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {});
    link.answer(call.channel, call.nowait, &AMQPClass::Exchange(answer));
    Ok(())
}

pub(crate) fn declared(
    link: &mut Connection,
    call: Call,
    wanted: &Declaration,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(_) => {}
        Err(Refusal::ExchangeExists(there)) => check_same(&there, wanted)?,
        Err(refusal) => return Err(refused(&refusal, Subject::Exchange(&wanted.name))),
    }
    answer_declare(link, call)
}

fn delete(
    link: &mut Connection,
    call: Call,
    method: &exchange::Delete,
    world: World<'_>,
) -> Result<(), Fault> {
    let name = strip(method.exchange.as_str());
    if name.is_empty() {
        return Err(default_exchange());
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(Fault::new(
            Code::AccessRefused,
            format!("deletion of system exchange '{name}' in vhost '/' not allowed"),
        ));
    }
    if world.catalogue.exchange(&name).is_none() {
        return answer_delete(link, call);
    }
    let exchange: Arc<str> = name.into();
    let command = Command::DeleteExchange {
        name: exchange.clone(),
        if_unused: method.if_unused,
    };
    link.ask(
        call.waits_for(Control::DeleteExchange { exchange }),
        command,
    );
    Ok(())
}

fn answer_delete(link: &mut Connection, call: Call) -> Result<(), Fault> {
    let answer = exchange::AMQPMethod::DeleteOk(exchange::DeleteOk {});
    link.answer(call.channel, call.nowait, &AMQPClass::Exchange(answer));
    Ok(())
}

pub(crate) fn deleted(
    link: &mut Connection,
    call: Call,
    name: &str,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    match result {
        Ok(_) | Err(Refusal::NoSuchExchange(_)) => answer_delete(link, call),
        Err(refusal) => Err(refused(&refusal, Subject::Exchange(name))),
    }
}

/// Makes or unmakes a binding.
pub(crate) fn bind(link: &mut Connection, call: Call, binding: Binding) -> Result<(), Fault> {
    let names_default = binding.binding.exchange.is_empty()
        || matches!(&binding.binding.destination, Destination::Exchange(name) if name.is_empty());
    if names_default {
        return Err(default_exchange());
    }
    let command = if binding.removes {
        Command::Unbind(binding.binding.clone())
    } else {
        Command::Bind(binding.binding.clone())
    };
    link.ask(call.waits_for(Control::Bind(binding)), command);
    Ok(())
}

pub(crate) fn bound(
    link: &mut Connection,
    call: Call,
    binding: &Binding,
    result: Result<Reply, Refusal>,
) -> Result<(), Fault> {
    let missing = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::NoSuchTopic | Refusal::NoSuchExchange(_) | Refusal::NoSuchBinding
        )
    };
    match result {
        Ok(_) => {}
        Err(refusal) if binding.removes && missing(&refusal) => {}
        Err(refusal) => {
            let subject = match &binding.binding.destination {
                Destination::Topic(name) => Subject::Queue(name),
                Destination::Exchange(name) => Subject::Exchange(name),
            };
            return Err(refused(&refusal, subject));
        }
    }
    link.answer(call.channel, call.nowait, &binding.answer);
    Ok(())
}

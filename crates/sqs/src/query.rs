//! The query protocol, which SDKs spoke before the JSON protocol: parameters in a form or in the
//! URL, answers in XML. A request is put into the words of the JSON protocol and its answer back,
//! so that there is one reading and one answer of every action.

mod form;
mod xml;

use uuid::Uuid;

use crate::dispatch;
use crate::error::Fault;
use crate::origin::Origin;
use crate::server::Server;

pub(crate) use form::{Call, percent_decoded};
pub(crate) use xml::refusal;

/// Carries out `call` for a client that reached this server at `origin`; gives the XML of the answer.
pub(crate) async fn answer(
    server: &Server,
    call: &Call,
    origin: Origin<'_>,
    id: Uuid,
) -> Result<Vec<u8>, Fault> {
    let answer = dispatch::call(server, &call.action, origin, &call.body).await?;
    xml::answer(&call.action, &answer, id)
}

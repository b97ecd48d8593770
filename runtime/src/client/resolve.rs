//! What an application makes of siblings: one value, written back with the context of all.

use ringmain_core::time::UnixMs;
use ringmain_core::wire::get::GetRequest;
use ringmain_core::wire::put::{Content, PutRequest, Replaces};

use super::{Found, Value};

/// Makes one value of the siblings of a key, two at least, in the order in which a plain GET would
/// prefer them. It should not matter in which order they come, nor if one is merged twice.
pub type Resolve = dyn FnMut(&[u8], &[Value]) -> Vec<u8>;

/// How often what was merged is written back when others write at the same time.
pub(super) const RESOLVE_COUNT_MAX: u32 = 4;

/// The one value of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct One {
    /// What a write of what comes next replaces.
    pub context: Vec<u8>,
    /// `None`: not found.
    pub value: Option<Vec<u8>>,
}

/// What is to be done with what was found.
#[derive(Debug)]
pub(super) enum Step {
    /// It is one value, or none.
    Done(One),
    /// This was made of several, and replaces them.
    WriteBack(One),
}

impl Step {
    pub(super) fn of(key: &[u8], found: Found, resolve: Option<&mut Resolve>) -> Step {
        let Found { context, values } = found;
        if let Some(resolve) = resolve
            && values.len() > 1
        {
            let value = Some(resolve(key, &values));
            return Step::WriteBack(One { context, value });
        }
        Step::Done(One { context, value: values.into_iter().next().map(|value| value.bytes) })
    }
}

/// A read with the defaults of the cluster, and the context.
pub(super) fn get_request() -> GetRequest<'static> {
    GetRequest { r: 0, pr: 0, forwarded: false, want_context: true, context: &[] }
}

/// A write with the defaults of the cluster.
pub(super) fn put_request<'a>(context: &'a [u8], content: Content<'a>) -> PutRequest<'a> {
    PutRequest {
        w: 0,
        pw: 0,
        dw: 0,
        forwarded: false,
        want_context: true,
        timestamp: UnixMs(0),
        replaces: Replaces::Given(context),
        content,
    }
}

//! What the HTTP port tells of its node, also while there is none yet: it answers from the first
//! moment, so that who waits for a long recovery sees why.

use std::sync::{Arc, Mutex, PoisonError};

use ringmain_runtime::start::{Handle, Unready};

use super::metrics::Exposition;
use super::{Page, Reply};

/// The pages of one process.
#[derive(Clone, Default)]
pub(crate) struct Pages(Arc<Mutex<Option<Started>>>);

/// A node that has recovered.
struct Started {
    handle: Handle,
    exposition: Exposition,
}

impl Pages {
    /// The node has recovered and listens.
    pub(crate) fn set(&self, handle: Handle) {
        let exposition = Exposition::of(handle.metrics().clone());
        let started = Started { handle, exposition };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
    }

    /// The reply to a request for `page`. A status takes its time, and the port waits for it.
    pub(crate) fn answer(&self, page: Page) -> Reply {
        let started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unready = match &*started {
            None => Some(STARTING),
            Some(node) => node.handle.unready().map(why),
        };
        match (page, &*started) {
            (Page::Health, _) => Reply::text(200, "ok"),
            (Page::Index, _) => index(unready),
            (Page::Ready, _) => match unready {
                None => Reply::text(200, "ready"),
                Some(why) => Reply::text(503, &format!("not ready: {why}")),
            },
            (Page::Metrics | Page::Status, None) => Reply::text(503, STARTING),
            (Page::Metrics, Some(node)) => Reply::metrics(node.exposition.text()),
            (Page::Status, Some(node)) => match node.handle.status() {
                Some(json) => Reply::json(json),
                None => Reply::text(503, "no status yet"),
            },
        }
    }
}

fn why(unready: Unready) -> &'static str {
    match unready {
        Unready::Stopping => "it is stopping",
        Unready::NoRing => "it is in no ring: it has not joined a cluster, or was removed from it",
        Unready::Copied => {
            "its data directory was copied, or last used by an older build, and no other member \
             has said yet whether it is the newest: it may hold what was deleted since"
        }
    }
}

fn index(unready: Option<&str>) -> Reply {
    let state = match unready {
        None => "It is ready.".into(),
        Some(why) => format!("It is not ready: {why}."),
    };
    Reply { status: 200, kind: "text/html; charset=utf-8", body: INDEX.replace("STATE", &state) }
}

const STARTING: &str = "it is starting: it recovers its log, or asks its seeds to let it in";

const INDEX: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Ringmain</title>
<h1>A node of Ringmain</h1>
<p>STATE</p>
<ul>
<li><a href="/status">/status</a>: the cluster as this node sees it, JSON; <code>ringmain cluster
status</code> shows the same as a table
<li><a href="/metrics">/metrics</a>: what the node counts and times, for Prometheus
<li><a href="/ready">/ready</a>: 200 once the node has recovered and is in the ring, else 503 and
why
<li><a href="/health">/health</a>: 200 while the process runs
</ul>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_starting_says_so() {
        let pages = Pages::default();
        assert_eq!(pages.answer(Page::Health), Reply::text(200, "ok"));
        let ready = pages.answer(Page::Ready);
        assert_eq!(ready.status, 503);
        assert_eq!(ready.body, format!("not ready: {STARTING}\n"));
        for page in [Page::Metrics, Page::Status] {
            assert_eq!(pages.answer(page).status, 503);
        }
        let index = pages.answer(Page::Index);
        assert!(index.body.contains("not ready: it is starting") && index.status == 200);
    }
}

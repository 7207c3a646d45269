//! The lease: renews what is held, and says when it is lost.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::{
    cli::{output::visible, run::Times},
    client::{Backoff, BootInstant, Client, ClientError, RenewItem, RenewResult, Status},
};

/// Pauses between attempts to renew.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How an attempt to renew went.
#[derive(Debug)]
pub(super) enum Renewal {
    /// Everything is held for the whole time to live from `sent` on.
    Renewed { sent: BootInstant, results: Vec<RenewResult> },
    /// Something is not held any more; why, for people.
    Lost(String),
    /// The service did not answer, or refused for a reason that is no loss: the lease goes on until its deadline.
    Failed(ClientError),
}

/// Renews; all attempts end within `timeout`.
pub(super) async fn renew(client: &Client, items: &[RenewItem], timeout: Duration) -> Renewal {
    let reply = match client.renew(items, Some(timeout)).await {
        Ok(reply) => reply,
        Err(ClientError::Refused(refusal)) if refusal.code == "INVALID_RELEASE_TOKEN" => {
            return Renewal::Lost("it was reserved anew under the same requester".into());
        }
        Err(error) => return Renewal::Failed(error),
    };
    let results: Vec<RenewResult> = match reply.parse() {
        Ok(results) => results,
        Err(error) => return Renewal::Failed(error),
    };
    if let Some(lost) = results.iter().find(|result| result.status != Status::Renewed) {
        let why = match lost.status {
            Status::NotReserved => "it was ended by somebody else, or has expired".into(),
            _ => visible(&lost.explanation),
        };
        return Renewal::Lost(format!("{}: {why}", visible(&lost.resource)));
    }
    if results.len() != items.len() {
        let reason = format!("{} results of {} renewals", results.len(), items.len());
        return Renewal::Failed(ClientError::UnexpectedAnswer { url: client.url(), reason });
    }
    Renewal::Renewed { sent: reply.sent, results }
}

/// Renews at a third of the time to live, and again and again where that fails, until dropped.
pub(super) struct Lease {
    renewals: mpsc::UnboundedReceiver<Renewal>,
    due: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Lease {
    /// Begins with a grant or renewal that was sent at `sent`.
    pub(super) fn start(client: Client, items: Vec<RenewItem>, times: Times, sent: BootInstant) -> Self {
        let (to, renewals) = mpsc::unbounded_channel();
        let due = Arc::new(Notify::new());
        let task = tokio::spawn(keep(client, items, times, sent, due.clone(), to));
        Self { renewals, due, task }
    }

    /// Has it renewed now.
    pub(super) fn renew_now(&self) {
        self.due.notify_one();
    }

    /// The outcome of the next attempt. After a loss there is none.
    ///
    /// # Cancellation
    /// Dropping the future loses no outcome.
    pub(super) async fn next(&mut self) -> Renewal {
        match self.renewals.recv().await {
            Some(renewal) => renewal,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(
    client: Client,
    items: Vec<RenewItem>,
    times: Times,
    sent: BootInstant,
    due: Arc<Notify>,
    to: mpsc::UnboundedSender<Renewal>,
) {
    let mut next = sent + times.renewal_interval();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        tokio::select! {
            () = next.sleep_until() => {}
            () = due.notified() => {}
        }
        let renewal = renew(&client, &items, times.renewal_timeout()).await;
        match &renewal {
            Renewal::Renewed { sent, .. } => {
                backoff.reset();
                next = *sent + times.renewal_interval();
            }
            Renewal::Failed(_) => next = BootInstant::now() + backoff.pause(),
            Renewal::Lost(_) => {}
        }
        let lost = matches!(renewal, Renewal::Lost(_));
        if to.send(renewal).is_err() || lost {
            return;
        }
    }
}

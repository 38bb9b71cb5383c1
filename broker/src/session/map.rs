//! What a control stream has to do with the map.

use std::sync::Arc;

use anyport_protocol::limits::ZONE_BYTES_MAX;
use anyport_protocol::message::{Advertise, Advertised, GetMap, ToClient, Withdraw};
use anyport_protocol::{Code, Fault};
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::control::{Control, Next, refused};
use crate::clock;
use crate::map::{Asked, History};

/// A client that is told of changes.
pub(super) struct Following {
    asked: Asked,
    history: watch::Receiver<Arc<History>>,
    /// When it is told what was held back.
    due: Option<Instant>,
}

/// Resolves when there may be something to tell.
pub(super) async fn changed(following: &mut Option<Following>) {
    let Some(Following { history, due, .. }) = following else { return std::future::pending().await };
    let is_due = async {
        match due {
            Some(due) => tokio::time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = history.changed() => if changed.is_err() { std::future::pending::<()>().await },
        () = is_due => {}
    }
}

impl Control {
    pub(super) fn on_get_map(&mut self, question: &GetMap) -> Result<Next, Fault> {
        if question.zone.len() > ZONE_BYTES_MAX {
            let text = format!("a zone of {} bytes; at most {ZONE_BYTES_MAX} are possible", question.zone.len());
            return Err(Fault::new(Code::LimitPassed, text));
        }
        let (mut history, now) = (self.broker.map.watch(), Instant::now());
        let mut asked = Asked::new(question, now.into_std());
        let answer = asked.answer(&Arc::clone(&history.borrow_and_update()), clock::wall(), now.into_std());
        self.following = question.follow.then_some(Following { asked, history, due: None });
        Ok(Next::Answer(answer.into()))
    }

    pub(super) async fn on_map_changed(&mut self) {
        let Some(Following { asked, history, due }) = &mut self.following else { return };
        let now = Arc::clone(&history.borrow_and_update());
        let news = asked.news(&now, clock::wall(), Instant::now().into_std());
        *due = asked.due_at(&now).map(Instant::from_std);
        if let Some(news) = news {
            self.send(0, &news.into()).await;
        }
    }

    pub(super) fn on_advertise(&self, wish: Advertise) -> Result<Next, Fault> {
        let client = self.client()?;
        Ok(later(self.broker.advertising.clone().advertise(client, wish)))
    }

    pub(super) fn on_withdraw(&self, wish: Withdraw) -> Result<Next, Fault> {
        let client = self.client()?;
        Ok(later(self.broker.advertising.clone().withdraw(client, wish)))
    }
}

fn later(done: impl Future<Output = Result<(), Fault>> + Send + 'static) -> Next {
    let answer = async { done.await.map_or_else(refused, |()| ToClient::from(Advertised {})) };
    Next::Later(answer.boxed())
}

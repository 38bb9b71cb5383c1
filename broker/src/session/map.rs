//! What a control stream has to do with the map.

use std::sync::Arc;

use anyport_protocol::Fault;
use anyport_protocol::message::{Advertise, Advertised, GetMap, ToClient, Withdraw};
use futures_util::FutureExt;
use tokio::sync::watch;

use super::control::{Control, Next, refused};
use crate::clock;
use crate::map::{Asked, History};

/// A client that is told of changes.
pub(super) struct Following {
    asked: Asked,
    history: watch::Receiver<Arc<History>>,
}

/// Resolves when there is another map.
pub(super) async fn changed(following: &mut Option<Following>) {
    let still_there = match following {
        Some(following) => following.history.changed().await.is_ok(),
        None => false,
    };
    if !still_there {
        std::future::pending::<()>().await;
    }
}

impl Control {
    pub(super) fn on_get_map(&mut self, question: &GetMap) -> Next {
        let mut history = self.broker.map.watch();
        let mut asked = Asked::new(question);
        let answer = asked.answer(&Arc::clone(&history.borrow_and_update()), clock::wall());
        self.following = question.follow.then_some(Following { asked, history });
        Next::Answer(answer.into())
    }

    pub(super) async fn on_map_changed(&mut self) {
        let Some(Following { asked, history }) = &mut self.following else { return };
        let now = Arc::clone(&history.borrow_and_update());
        if let Some(news) = asked.news(&now, clock::wall()) {
            self.send(0, &news.into()).await;
        }
    }

    pub(super) fn on_advertise(&self, wish: Advertise) -> Result<Next, Fault> {
        self.client()?;
        Ok(later(self.broker.advertising.clone().advertise(wish)))
    }

    pub(super) fn on_withdraw(&self, wish: Withdraw) -> Result<Next, Fault> {
        self.client()?;
        Ok(later(self.broker.advertising.clone().withdraw(wish)))
    }
}

fn later(done: impl Future<Output = Result<(), Fault>> + Send + 'static) -> Next {
    let answer = async { done.await.map_or_else(refused, |()| ToClient::from(Advertised {})) };
    Next::Later(answer.boxed())
}

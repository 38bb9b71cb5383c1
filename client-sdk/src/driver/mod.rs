//! The one background task of a client: it owns the connection, the control stream and the session, and brings all of them back
//! whenever they are lost. Everything the application awaits is answered by it, so no future of the application's can lose anything.
//!
//! Publishers have tasks of their own, which take the connection from [`Link`]; feed streams are read by tasks that this one owns.

mod answers;
mod connect;
mod connected;
mod doubt;
mod handshake;
mod inquiry;
mod map;
mod orders;
mod routes;
mod second;
mod session;
mod wanted;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyport_protocol::map::Map;
use anyport_protocol::message::{ToBroker, ToClient};
use anyport_protocol::{ClientId, ClusterId, Nonce, SessionEpoch};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::Error;
use crate::backoff::Backoff;
use crate::director::{Director, Explained};
use crate::home::{Home, Identity, Lock};
use crate::net::{Connection, Dialer, Trust};
use crate::subscription::{SubscribeOptions, Subscription};
use connect::Spare;
use connected::Ended;
use orders::Orders;
use routes::Routes;
use session::Session;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Long enough for a fleet, short enough for a person who waits.
const BACKOFF_CAP: Duration = Duration::from_secs(5);

/// What publishers publish over.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Waiting,
    Up(Connection),
    Over(Error),
}

/// How the client is doing.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not connected; if it was tried, why the last attempt failed or the last connection ended.
    Connecting {
        trouble: Option<String>,
    },
    Connected {
        server: String,
    },
    Suspended,
    /// Final.
    Over(Error),
}

#[derive(Debug)]
pub(crate) enum Command {
    Subscribe { options: Box<SubscribeOptions>, reply: oneshot::Sender<Result<Subscription, Error>> },
    Unsubscribe { name: String, reply: oneshot::Sender<Result<(), Error>> },
    Inquire { question: ToBroker, reply: oneshot::Sender<Result<ToClient, Error>> },
    Suspend { reply: oneshot::Sender<()> },
    Resume { reply: oneshot::Sender<()> },
    NetworkChanged { reply: oneshot::Sender<()> },
    Explain { reply: oneshot::Sender<Vec<Explained>> },
    Move { server: String, reply: oneshot::Sender<()> },
    Close { reply: oneshot::Sender<()> },
}

/// What the driver tells everybody.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) link: watch::Sender<Link>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) map: watch::Sender<Option<Arc<Map>>>,
    pub(crate) client: OnceLock<ClientId>,
    pub(crate) partitions: OnceLock<u16>,
    pub(crate) relaxed: OnceLock<bool>,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self {
            link: watch::Sender::new(Link::Waiting),
            status: watch::Sender::new(Status::Connecting { trouble: None }),
            map: watch::Sender::new(None),
            client: OnceLock::new(),
            partitions: OnceLock::new(),
            relaxed: OnceLock::new(),
        }
    }
}

/// What the driver finds its way by.
#[derive(Debug)]
pub(crate) struct Guide {
    pub(crate) director: Director,
    pub(crate) zone: Option<String>,
    /// Whether there is to be a map at all.
    pub(crate) roam: bool,
    /// What an earlier process had still to do, as it was saved.
    pub(crate) orders: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Driver {
    home: Home,
    dialer: Dialer,
    director: Director,
    backoff: Backoff,
    trust: Option<Trust>,
    identity: Option<Identity>,
    /// As the broker named it on this connection.
    cluster: Option<ClusterId>,
    /// Whether an identity that is not there may be registered.
    may_register: bool,
    /// Held from the first registration's flight until the identity is saved.
    registration: Option<Lock>,
    /// Held from the first subscription on.
    session_lock: Option<Lock>,
    epoch_on_disk: Option<SessionEpoch>,
    saved_at: Instant,
    session: Session,
    routes: Routes,
    /// Made while the last connection was in doubt, and better than making another.
    spare: Option<Spare>,
    /// Where the client is, as far as the application knows.
    zone: Option<String>,
    roam: bool,
    orders: Orders,
    is_map_unsaved: bool,
    /// A change is no answer then.
    is_whole_map_asked: bool,
    map_saved_at: Instant,
    due: Arc<Notify>,
    told: Arc<Told>,
    commands: mpsc::Receiver<Command>,
    next_id: u64,
    /// Whether the client has ever been connected: before, some troubles are reported that later are waited out.
    was_connected: bool,
    /// What to tell whoever asked for the present suspension or end.
    leaving: Option<oneshot::Sender<()>>,
}

/// What a command means for the connection.
enum Asked {
    Nothing,
    /// Whether the broker is still in reach.
    IsItHeard,
    /// Begin anew where the director now points.
    Move,
    Suspend,
    Close,
}

impl Drop for Driver {
    /// Dropped with its client, perhaps in the middle of something: nobody may wait for what no longer comes.
    fn drop(&mut self) {
        self.session.handle_over(&Error::Closed);
    }
}

impl Driver {
    pub(crate) fn new(
        home: Home,
        may_register: bool,
        dialer: Dialer,
        guide: Guide,
        told: Arc<Told>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let due = Arc::new(Notify::new());
        let Guide { director, zone, roam, orders } = guide;
        let orders = Orders::decode(&orders);
        Self {
            home,
            dialer,
            director,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_CAP),
            trust: None,
            identity: None,
            cluster: None,
            may_register,
            registration: None,
            session_lock: None,
            epoch_on_disk: None,
            saved_at: Instant::now(),
            session: Session::new(Nonce::from_bytes(rand::random()), Arc::clone(&due)),
            routes: Routes::default(),
            spare: None,
            zone,
            roam,
            orders,
            is_map_unsaved: false,
            is_whole_map_asked: false,
            map_saved_at: Instant::now(),
            due,
            told,
            commands,
            next_id: 0,
            was_connected: false,
            leaving: None,
        }
    }

    pub(crate) async fn run(mut self) {
        // What was asked for before the start is part of the first flight.
        while let Ok(command) = self.commands.try_recv() {
            self.on_command(Some(command)).await;
        }
        loop {
            let ended = match self.connect().await {
                Ok((connection, writer, reader)) => self.serve(&connection, writer, reader).await,
                Err(ended) => ended,
            };
            self.told.link.send_replace(Link::Waiting);
            let go_on = match ended {
                Ended::Lost { reason, wait } => self.wait_to_reconnect(reason, wait).await,
                Ended::Moved => self.begin_at_another(),
                Ended::Suspended => self.wait_for_resume().await,
                Ended::Closed => false,
                Ended::Over(error) => {
                    self.tell_over(error);
                    self.refuse_commands().await;
                    return;
                }
            };
            if !go_on {
                return self.close().await;
            }
        }
    }

    async fn wait_to_reconnect(&mut self, reason: String, wait: Option<Duration>) -> bool {
        tracing::info!(reason, "connection lost");
        self.told.status.send_replace(Status::Connecting { trouble: Some(reason) });
        let wait = self.director.handle_failure(wait, Instant::now()).unwrap_or_default();
        // Even if the next server is to be tried at once: everybody who was here is on the way there.
        let jittered = self.backoff.handle_failure(rand::random());
        match self.pause(wait + jittered).await {
            Ok(()) => true,
            Err(Ended::Moved) => self.begin_at_another(),
            Err(Ended::Suspended) => self.wait_for_resume().await,
            Err(_) => false,
        }
    }

    fn begin_at_another(&mut self) -> bool {
        self.told.status.send_replace(Status::Connecting { trouble: None });
        self.tell_left();
        true
    }

    /// A command while there is no connection: requests are kept for the next one.
    async fn on_command_offline(&mut self, command: Option<Command>) -> Result<(), Ended> {
        match self.on_command(command).await {
            Asked::Nothing | Asked::IsItHeard => Ok(()),
            Asked::Move => Err(Ended::Moved),
            Asked::Suspend => Err(Ended::Suspended),
            Asked::Close => Err(Ended::Closed),
        }
    }

    async fn on_command(&mut self, command: Option<Command>) -> Asked {
        let id = self.next_id;
        self.next_id += 1;
        match command {
            Some(Command::Subscribe { options, reply }) => match self.prepare_session().await {
                Ok(()) => self.session.want(id, *options, reply),
                Err(error) => drop(reply.send(Err(error))),
            },
            Some(Command::Unsubscribe { name, reply }) => match self.prepare_session().await {
                Ok(()) => self.session.leave(id, &name, reply),
                Err(error) => drop(reply.send(Err(error))),
            },
            Some(Command::Inquire { question, reply }) => self.session.inquire(id, question, reply),
            Some(Command::Move { server, reply }) => {
                let is_there = matches!(&*self.told.status.borrow(), Status::Connected { server: at } if *at == server);
                if !is_there {
                    self.director.prefer(&server);
                    self.spare = None;
                    self.leaving = Some(reply);
                    return Asked::Move;
                }
                let _ = reply.send(());
            }
            Some(Command::Explain { reply }) => drop(reply.send(self.director.explain(Instant::now()))),
            Some(Command::Suspend { reply }) => {
                self.leaving = Some(reply);
                return Asked::Suspend;
            }
            Some(Command::Close { reply }) => {
                self.leaving = Some(reply);
                return Asked::Close;
            }
            Some(Command::Resume { reply }) => drop(reply.send(())),
            Some(Command::NetworkChanged { reply }) => {
                if let Err(error) = self.dialer.rebind() {
                    tracing::warn!(%error, "bind a new socket");
                }
                let _ = reply.send(());
                return Asked::IsItHeard;
            }
            // The client was dropped.
            None => return Asked::Close,
        }
        Asked::Nothing
    }

    /// Once, before the first session: makes sure that no other process has it, and reads where an earlier one got to.
    async fn prepare_session(&mut self) -> Result<(), Error> {
        if self.session_lock.is_some() {
            return Ok(());
        }
        let home = self.home.clone();
        let (lock, state) = blocking(move || Ok((home.lock_session()?, home.load_state()?))).await?;
        self.session.saved = state;
        self.session_lock = Some(lock);
        Ok(())
    }

    async fn wait_for_resume(&mut self) -> bool {
        if let Err(error) = self.save_state().await {
            tracing::warn!(%error, "save the client's state");
        }
        self.told.status.send_replace(Status::Suspended);
        self.tell_left();
        loop {
            match self.commands.recv().await {
                Some(Command::Resume { reply }) => {
                    self.told.status.send_replace(Status::Connecting { trouble: None });
                    let _ = reply.send(());
                    return true;
                }
                command => match self.on_command(command).await {
                    Asked::Nothing | Asked::IsItHeard => {}
                    Asked::Suspend | Asked::Move => self.tell_left(),
                    Asked::Close => return false,
                },
            }
        }
    }

    fn tell_left(&mut self) {
        if let Some(reply) = self.leaving.take() {
            let _ = reply.send(());
        }
    }

    /// In order: what is known is saved, everybody is told, the peer learns of it.
    async fn close(mut self) {
        if self.is_map_unsaved {
            self.save_map().await;
        }
        if let Err(error) = self.save_state().await {
            tracing::warn!(%error, "save the client's state");
        }
        self.tell_over(Error::Closed);
        self.dialer.wait_idle().await;
        self.session_lock = None;
        self.tell_left();
    }

    fn tell_over(&mut self, error: Error) {
        self.session.handle_over(&error);
        self.told.link.send_replace(Link::Over(error.clone()));
        self.told.status.send_replace(Status::Over(error));
    }

    /// Nothing can be done any more but to say so.
    async fn refuse_commands(&mut self) {
        self.tell_left();
        while let Some(command) = self.commands.recv().await {
            match self.on_command(Some(command)).await {
                Asked::Nothing | Asked::IsItHeard => {}
                Asked::Suspend | Asked::Move => self.tell_left(),
                Asked::Close => return self.tell_left(),
            }
        }
    }

    async fn save_state(&mut self) -> Result<(), Error> {
        self.saved_at = Instant::now();
        if self.session_lock.is_none() {
            return Ok(());
        }
        let (home, state) = (self.home.clone(), self.session.snapshot());
        blocking(move || home.save_state(&state)).await
    }
}

/// Files are small and local, but they are synced.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        // The work was cancelled by the end of the runtime, or panicked.
        Err(_) => Err(Error::Closed),
    }
}

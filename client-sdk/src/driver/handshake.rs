//! Who the client is: the first flight and its answers.

use std::time::Instant;

use anyport_protocol::message::{Hello, LoggedIn, Login, Register, Registered, ToClient, Welcome};

use super::session::Request;
use super::{Driver, blocking};
use crate::Error;
use crate::home::Identity;

const AGENT: &str = concat!("anyport-client/", env!("CARGO_PKG_VERSION"));

impl Driver {
    /// Hello, who we are, and the session if there is to be one. Also says whether all of it may arrive twice.
    pub(super) async fn first_flight(&mut self) -> Result<(Vec<u8>, bool), Error> {
        self.find_identity().await?;
        let (now, mut out) = (Instant::now(), Vec::new());
        self.session.request(Request::Identify, Hello::of_this_version(AGENT), now, &mut out);
        let is_idempotent = match &self.identity {
            Some(identity) => {
                let login = Login { token: identity.token.clone() };
                self.session.request(Request::Identify, login, now, &mut out);
                true
            }
            None => {
                self.session.request(Request::Identify, Register {}, now, &mut out);
                false
            }
        };
        self.push_get_map(now, &mut out);
        if self.session.must_open() {
            self.save_epoch().await?;
            self.session.push_open(now, &mut out);
        }
        Ok((out, is_idempotent))
    }

    /// The saved identity; without one the right to register it.
    async fn find_identity(&mut self) -> Result<(), Error> {
        if self.identity.is_some() || self.registration.is_some() {
            return Ok(());
        }
        let (home, may_register) = (self.home.clone(), self.may_register);
        let found = blocking(move || {
            if let Some(identity) = home.load_identity()? {
                return Ok((Some(identity), None));
            }
            if !may_register {
                return Err(home.not_registered());
            }
            let lock = home.lock_registration()?;
            // Another process may have registered while we waited.
            match home.load_identity()? {
                Some(identity) => Ok((Some(identity), None)),
                None => Ok((None, Some(lock))),
            }
        });
        (self.identity, self.registration) = found.await?;
        self.know_client();
        Ok(())
    }

    fn know_client(&mut self) {
        if let Some(identity) = &self.identity {
            self.session.handle_client(identity.client);
            self.director.handle_client(identity.client);
            let _ = self.told.client.set(identity.client);
        }
    }

    /// An epoch is on disk before it is used: a later process must not use it again.
    pub(super) async fn save_epoch(&mut self) -> Result<(), Error> {
        let epoch = self.session.choose_epoch();
        if self.epoch_on_disk != Some(epoch) {
            self.save_state().await?;
            self.epoch_on_disk = Some(epoch);
        }
        Ok(())
    }

    /// An answer of the handshake. Returns whether the client is now known to the broker.
    pub(super) async fn on_handshake(&mut self, message: ToClient) -> Result<bool, Error> {
        match message {
            ToClient::Welcome(welcome) => self.on_welcome(welcome).map(|()| false),
            ToClient::Registered(registered) => self.on_registered(registered).await.map(|()| true),
            ToClient::LoggedIn(logged_in) => self.on_logged_in(logged_in).await.map(|()| true),
            other => {
                tracing::debug!(name = other.name(), "an answer to another question");
                Ok(false)
            }
        }
    }

    fn on_welcome(&mut self, welcome: Welcome) -> Result<(), Error> {
        let server = || self.director.server().to_owned();
        if let Some(identity) = self.identity.as_ref().filter(|identity| identity.cluster != welcome.cluster) {
            let (expected, found) = (identity.cluster.to_string(), welcome.cluster.to_string());
            return Err(Error::OtherCluster { server: server(), expected, found });
        }
        if welcome.partitioner != anyport_protocol::partitioner::NAME {
            return Err(Error::UnknownPartitioner { server: server(), partitioner: welcome.partitioner });
        }
        self.cluster = Some(welcome.cluster);
        let _ = self.told.partitions.set(welcome.partitions);
        let _ = self.told.relaxed.set(welcome.relaxed);
        Ok(())
    }

    async fn on_registered(&mut self, registered: Registered) -> Result<(), Error> {
        let Some(cluster) = self.cluster else { return Ok(()) };
        self.save_identity(Identity { client: registered.client, cluster, token: registered.token }).await?;
        self.registration = None;
        self.know_client();
        Ok(())
    }

    async fn on_logged_in(&mut self, logged_in: LoggedIn) -> Result<(), Error> {
        match (logged_in.renewed, self.identity.clone()) {
            (Some(token), Some(identity)) => self.save_identity(Identity { token, ..identity }).await,
            _ => Ok(()),
        }
    }

    async fn save_identity(&mut self, identity: Identity) -> Result<(), Error> {
        let (home, saved) = (self.home.clone(), identity.clone());
        blocking(move || home.save_identity(&saved)).await?;
        self.identity = Some(identity);
        Ok(())
    }
}

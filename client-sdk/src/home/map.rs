//! The last map that a client was told, so that it finds a broker when every server it was given is gone.
//!
//! ```text
//!   map = version u8 (1) | length u32 of what is left to do | what is left to do | the map, as on the wire
//! ```
//! Little-endian. A file that cannot be read is taken as absent: the servers that the client is given are as good a beginning.

use anyport_protocol::map::Map;
use bytes::Buf;

use super::{Home, read, replace};
use crate::Error;

const VERSION: u8 = 1;

/// What an earlier process has saved.
#[derive(Debug)]
pub(crate) struct SavedMap {
    pub(crate) map: Map,
    /// Of the driver's; nobody else reads it.
    pub(crate) orders: Vec<u8>,
}

impl Home {
    pub(crate) fn save_map(&self, orders: &[u8], map: &[u8]) -> Result<(), Error> {
        self.make_client_folder()?;
        let length = u32::try_from(orders.len()).expect("a few commands");
        replace(&self.file("map"), &[&[VERSION][..], &length.to_le_bytes(), orders, map].concat())
    }

    pub(crate) fn load_map(&self) -> Result<Option<SavedMap>, Error> {
        let path = self.file("map");
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let saved = decode(&bytes);
        if saved.is_none() {
            tracing::warn!(path = %path.display(), "the saved map cannot be read; the servers that are given are used");
        }
        Ok(saved)
    }
}

fn decode(mut bytes: &[u8]) -> Option<SavedMap> {
    let (version, length) = (bytes.try_get_u8().ok()?, bytes.try_get_u32_le().ok()?);
    let orders = bytes.split_off(..usize::try_from(length).ok()?).filter(|_| version == VERSION)?.to_vec();
    Some(SavedMap { map: Map::decode(bytes).ok()?, orders })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_saved_and_a_broken_file_is_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(folder.path().to_owned(), "phone").expect("a good name");
        assert!(home.load_map().expect("no file").is_none());
        home.save_map(b"orders", &Map::new(7, []).encode()).expect("save");
        let saved = home.load_map().expect("a file").expect("a map");
        assert_eq!((saved.map.revision, saved.orders.as_slice()), (7, &b"orders"[..]));
        let path = home.file("map");
        let bytes = std::fs::read(&path).expect("read");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("write");
            assert!(home.load_map().expect("a file").is_none(), "{length}");
        }
    }
}

//! The authorities of the home folder as texts, to be taken along to another device and put down there.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyport_protocol::ClusterId;

use super::{Home, home_error, read, replace};
use crate::Error;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

impl Home {
    /// Every certificate that is trusted here, each once. Nothing else that such a file may hold, least of all a key.
    pub(crate) fn trusted_certificates(&self) -> Result<Vec<String>, Error> {
        let mut certificates = Vec::new();
        for path in pem_files(&self.authorities())? {
            let text = read(&path)?.unwrap_or_default();
            for certificate in certificates_in(&String::from_utf8_lossy(&text)) {
                if !certificates.contains(&certificate) {
                    certificates.push(certificate);
                }
            }
        }
        Ok(certificates)
    }

    /// Trusts those that came with an identity of a cluster. Returns the file that they are in, unless all are trusted already.
    pub(crate) fn trust_imported(&self, certificates: &[String], cluster: ClusterId) -> Result<Option<PathBuf>, Error> {
        let about = format!("These came with an identity of cluster {cluster}, by `anyport identity import`.");
        self.trust(certificates, &format!("imported-{cluster}.pem"), &about)
    }

    /// Trusts these from now on, in a file of their own that says where they come from. Returns it, unless all are trusted already.
    pub(crate) fn trust(&self, certificates: &[String], file: &str, about: &str) -> Result<Option<PathBuf>, Error> {
        let known = self.trusted_certificates()?;
        if certificates.iter().all(|certificate| known.contains(certificate)) {
            return Ok(None);
        }
        let folder = self.authorities();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| home_error(&folder, error))?;
        let path = folder.join(file);
        let text = format!("{about}\nRemove this file to trust them no longer.\n{}", certificates.concat());
        replace(&path, text.as_bytes())?;
        Ok(Some(path))
    }
}

/// The certificates of a PEM file, with one line end for all.
pub(crate) fn certificates_in(text: &str) -> Vec<String> {
    let mut certificates = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        if line == BEGIN {
            open = Some(String::new());
        }
        let Some(certificate) = &mut open else { continue };
        certificate.push_str(line);
        certificate.push('\n');
        if line == END {
            certificates.extend(open.take());
        }
    }
    certificates
}

/// By name. None where there is no folder: the dev broker makes it.
pub(crate) fn pem_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(home_error(folder, error)),
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "pem")).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(body: &str) -> String {
        format!("{BEGIN}\n{body}\n{END}\n")
    }

    #[test]
    fn certificates_are_taken_along_and_nothing_else() {
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        let text = format!("mine\n{}{key}{}", certificate("MAA="), certificate("MAE=").replace('\n', "\r\n"));
        assert_eq!(certificates_in(&text), [certificate("MAA="), certificate("MAE=")]);
        assert_eq!(certificates_in(&format!("{BEGIN}\ncut off")), [""; 0]);
    }

    #[test]
    fn what_is_trusted_already_is_not_written_again() {
        let root = tempfile::tempdir().expect("temporary folder");
        let home = Home::new(root.path().into(), "phone").expect("a good name");
        let cluster = ClusterId([0x22; 16]);
        assert_eq!(home.trusted_certificates().expect("no folder yet"), [""; 0]);
        let (first, second) = (certificate("MAA="), certificate("MAE="));
        let written = home.trust_imported(std::slice::from_ref(&first), cluster).expect("written").expect("it was new");
        assert_eq!(written, root.path().join("ca/imported-22222222-2222-2222-2222-222222222222.pem"));
        assert_eq!(home.trust_imported(std::slice::from_ref(&first), cluster).expect("looked"), None);
        assert!(home.trust_imported(&[first.clone(), second.clone()], cluster).expect("written").is_some());
        assert_eq!(home.trusted_certificates().expect("read"), [first, second]);
    }
}

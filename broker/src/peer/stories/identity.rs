//! Files that are no bundle say what is wrong with them.

use std::path::PathBuf;

use super::*;
use crate::net::{BROKER_NAME, BundleProblem, OPERATOR_NAME};

fn problem(pem: &str) -> BundleProblem {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broker.pem");
    std::fs::write(&path, pem).expect("write");
    let error = ClusterIdentity::load(&path).expect_err("not a bundle");
    assert_eq!(error.path, path);
    error.problem
}

#[test]
fn a_bundle_is_certificate_authority_and_key() {
    let authority = Authority::new();
    let leaf = authority.leaf(BROKER_NAME);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("broker.pem");
    std::fs::write(&path, authority.bundle(&leaf)).expect("write");
    let identity = ClusterIdentity::load(&path).expect("a bundle");
    let key = rcgen::KeyPair::from_pem(&leaf.private).expect("own key");
    let public = ring::digest::digest(&ring::digest::SHA256, &rcgen::PublicKeyData::subject_public_key_info(&key));
    assert_eq!(identity.key(), public.as_ref());
    // Clients get the certificate by its other names, and have the CA already.
    assert_eq!(identity.client_facing().chain.len(), 1);
}

#[test]
fn each_fault_of_a_bundle_has_its_own_words() {
    let authority = Authority::new();
    let leaf = authority.leaf(BROKER_NAME);
    let no_key = [&leaf.certificate, &authority.pem].map(String::as_str).concat();
    let only_one = [&leaf.certificate, &leaf.private].map(String::as_str).concat();
    let other_key = [&leaf.certificate, &authority.pem, &authority.leaf("x").private].map(String::as_str).concat();
    let wrong_order = [&authority.pem, &leaf.certificate, &leaf.private].map(String::as_str).concat();
    let other_authority = Authority::new().bundle(&leaf);
    let operator = authority.bundle(&authority.leaf(OPERATOR_NAME));
    let expired = authority.bundle(&authority.leaf_until(BROKER_NAME, 2020));
    for (pem, words) in [
        ("", "it holds 0 certificates"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "it is not in PEM"),
        (&only_one, "it holds 1 certificates"),
        (&no_key, "it holds no private key"),
        (&other_key, "its private key does not belong to its first certificate"),
        (&wrong_order, "its private key does not belong to its first certificate"),
        (&other_authority, "its first certificate is refused by the CA that is its last: invalid peer certificate"),
        (&operator, "its first certificate is not a broker's: broker.anyport.internal is not among its names"),
        (&expired, "certificate expired"),
    ] {
        let said = problem(pem).to_string();
        assert!(said.contains(words), "{said}, not {words}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = ClusterIdentity::load(&PathBuf::from("/no/such/broker.pem")).expect_err("nothing there");
    assert!(error.to_string().starts_with("/no/such/broker.pem: read it: No such file"), "{error}");
}

//! The published vectors of every standard this crate computes with: NIST's, the RFCs' and Project Wycheproof's.
//!
//! Each is taken as far as it applies: keys of 256 bits, nonces of 96, tags of 128. AES key wrap is done by the HSM, and
//! small sealing has a nonce of its own, so their sets have nothing to be held against here but AWS-LC itself.

use aes::{
    Aes128, Block,
    cipher::{BlockModeEncrypt, InnerIvInit, KeyInit},
};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use wycheproof::{TestResult, aead, cipher, hkdf, mac_with_nonce};

use crate::{
    CpuPath, DataKey,
    cbc::{Decrypts, Encrypts, Lane, tests::paths},
    derive::expand,
    segment::unpad,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn cbc_encrypted(path: CpuPath, key: &[u8], iv: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    let mut lanes = [Lane { chain: iv.try_into().unwrap(), blocks: bytes.as_chunks_mut().0 }];
    Encrypts::new(path, key.try_into().unwrap()).encrypt_lanes(&mut lanes);
    bytes
}

fn cbc_decrypted(path: CpuPath, key: &[u8], iv: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut plain = vec![0; ciphertext.len()];
    let decrypts = Decrypts::new(path, key.try_into().unwrap());
    decrypts.decrypt(iv.try_into().unwrap(), ciphertext.as_chunks().0, plain.as_chunks_mut().0);
    plain
}

/// SP 800-38A, F.2.5 and F.2.6: CBC-AES256.
#[test]
fn cbc_is_that_of_sp_800_38a_on_every_path() {
    let key = hex("603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4");
    let iv = hex("000102030405060708090a0b0c0d0e0f");
    let plain = hex("6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
                     30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710");
    let sealed = hex("f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d
                      39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b");
    for path in paths() {
        assert_eq!(cbc_encrypted(path, &key, &iv, &plain), sealed, "{path}");
        assert_eq!(cbc_decrypted(path, &key, &iv, &sealed), plain, "{path}");
    }
}

/// RFC 3602, section 4, cases 1 and 2. Its keys have 128 bits, which no path of ours takes: they hold the definition that
/// the paths are held against.
#[test]
fn the_definition_of_cbc_is_that_of_rfc_3602() {
    let cases = [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            hex("53696e676c6520626c6f636b206d7367"),
            hex("e353779c1079aeb82708942dbe77181a"),
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
            hex("d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1"),
        ),
    ];
    for (key, iv, mut text, sealed) in cases {
        let key = Aes128::new_from_slice(&hex(key)).unwrap();
        let blocks = Block::cast_slice_from_core_mut(text.as_chunks_mut().0);
        cbc::Encryptor::inner_iv_init(key, hex(iv).as_slice().try_into().unwrap()).encrypt_blocks(blocks);
        assert_eq!(text, sealed);
    }
}

#[test]
fn cbc_and_its_padding_are_those_of_wycheproof_on_every_path() {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    let mut count = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            for path in paths() {
                check_cbc(path, test);
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} applied");
}

fn check_cbc(path: CpuPath, test: &cipher::Test) {
    let valid = test.result != TestResult::Invalid;
    if valid {
        let padding_len = 16 - test.pt.len() % 16;
        let padded = [&test.pt[..], &vec![padding_len as u8; padding_len]].concat();
        assert_eq!(cbc_encrypted(path, &test.key, &test.nonce, &padded), test.ct[..], "{path}, case {}", test.tc_id);
    }
    // The engine refuses ciphertext of no whole blocks, or of none, before it looks at any.
    let whole = !test.ct.is_empty() && test.ct.len().is_multiple_of(16);
    let decrypted = if whole { cbc_decrypted(path, &test.key, &test.nonce, &test.ct) } else { Vec::new() };
    let opened = decrypted.split_last_chunk().and_then(|(before, last)| {
        let end = unpad(last).ok()?;
        Some([before, end].concat())
    });
    assert_eq!(opened.is_some(), valid, "{path}, case {}: {}", test.tc_id, test.comment);
    assert!(opened.is_none_or(|plain| plain == test.pt[..]), "{path}, case {}", test.tc_id);
}

fn gmac_by_aws_lc(key: &[u8], nonce: &[u8], message: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    key.seal_in_place_separate_tag(nonce, Aad::from(message), &mut []).unwrap().as_ref().to_vec()
}

fn check_gmac(key: &[u8], nonce: &[u8], message: &[u8], tag: &[u8], valid: bool) {
    assert_eq!(gmac_by_aws_lc(key, nonce, message) == tag, valid);
    #[cfg(target_arch = "x86_64")]
    if let Some(has) = crate::cbc::path::Vaes512::detect() {
        let (key, nonce) = (key.try_into().unwrap(), nonce.try_into().unwrap());
        assert_eq!(crate::cbc::vaes512::gmac(has, key, nonce, message) == tag, valid);
    }
}

#[test]
fn gmac_is_that_of_wycheproof() {
    let set = mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).unwrap();
    let groups = set.test_groups.iter();
    let mut count = 0;
    for group in groups.filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            check_gmac(&test.key, &test.nonce, &test.msg, &test.tag, test.result != TestResult::Invalid);
            count += 1;
        }
    }
    assert!(count > 20, "{count} applied");
}

/// GCM of no plaintext is GMAC.
#[test]
fn gmac_is_that_of_the_gcm_of_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter();
    let mut count = 0;
    for group in groups.filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128)) {
        for test in group.tests.iter().filter(|test| test.pt.is_empty() && test.ct.is_empty()) {
            check_gmac(&test.key, &test.nonce, &test.aad, &test.tag, test.result != TestResult::Invalid);
            count += 1;
        }
    }
    assert!(count > 0, "{count} applied");
}

proptest::proptest! {
    #[test]
    fn gmac_is_that_of_aws_lc(
        key: [u8; 32], nonce: [u8; 12], message in proptest::collection::vec(proptest::num::u8::ANY, 0..3000),
    ) {
        check_gmac(&key, &nonce, &message, &gmac_by_aws_lc(&key, &nonce, &message), true);
    }
}

/// The whole of HKDF, with the extract step that our data keys, being uniform, do without.
fn hkdf(salt: &[u8], input: &[u8], info: &[u8], len: usize) -> Option<Vec<u8>> {
    let salt = if salt.is_empty() { &[0; 32] } else { salt };
    let mut prk = [0; 32];
    prk.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), input).as_ref());
    let mut out = vec![0; len];
    expand(&DataKey::from_bytes(&mut prk), &[info], &mut out).ok()?;
    Some(out)
}

/// RFC 5869, appendix A.1 to A.3.
#[test]
fn the_expand_is_that_of_rfc_5869() {
    let ascending = |from: u8, to: u8| (from..=to).collect::<Vec<_>>();
    let cases = [
        (
            ascending(0x00, 0x0c),
            vec![0x0b; 22],
            ascending(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            ascending(0x60, 0xaf),
            ascending(0x00, 0x4f),
            ascending(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            Vec::new(),
            vec![0x0b; 22],
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (salt, input, info, expected) in cases {
        assert_eq!(hkdf(&salt, &input, &info, hex(expected).len()).unwrap(), hex(expected));
    }
}

#[test]
fn the_expand_is_that_of_wycheproof() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let found = hkdf(&test.salt, &test.ikm, &test.info, test.size);
        assert_eq!(found.is_some(), test.result != TestResult::Invalid, "case {}: {}", test.tc_id, test.comment);
        assert!(found.is_none_or(|okm| okm == test.okm[..]), "case {}", test.tc_id);
    }
}

//! How fast is one small object, key derivation included, against one segment by the `cbc` crate and AWS-LC's GMAC?
//!
//! Both sides draw a salt and derive four keys from it in the same way; they differ in what they then do.

use aes::{
    Aes256, Block,
    cipher::{BlockCipherEncrypt, BlockModeEncrypt, InnerIvInit, KeyInit},
};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk},
    rand,
};
use strongroom_engine::{Context, CpuPath, DataKey, KeyId, Kind, Sealer, SegmentShift};

use super::{Case, Contender, Race, Unit, rows::kibibytes, timed};

pub(super) fn cases() -> Vec<Case> {
    let best = CpuPath::fastest();
    [(64 << 10, 7.0), (4 << 10, 2.0)].map(|(plain_len, at_least)| case(best, plain_len, at_least)).into()
}

fn case(path: CpuPath, plain_len: usize, at_least: f64) -> Case {
    Case {
        name: format!("seal one object of {}, key derivation included", kibibytes(plain_len)),
        peer: "cbc crate and AWS-LC GMAC",
        path: path.name(),
        unit: Unit::Nanoseconds,
        at_least,
        race: Some(Race { ours: ours(path, plain_len), theirs: one_segment(plain_len), pinned: true }),
    }
}

fn ours(path: CpuPath, plain_len: usize) -> Contender {
    let (key, context) = (DataKey::from_bytes(&mut [7; 32]), Context::new(Kind::Stream).digest());
    let shift = SegmentShift::for_plain_len(plain_len as u64);
    let (plain, mut sealed) = (vec![5; plain_len], vec![0; 2 * plain_len]);
    timed(move || {
        let sealing = Sealer::on_path(path, &key, KeyId::from_bytes([1; 16]), &context, shift)
            .and_then(|mut sealer| sealer.next_batch(plain_len, true))
            .and_then(|batch| {
                let sealed_len = batch.sealed_len();
                batch.seal(&plain, &mut sealed[32..][..sealed_len])
            });
        assert!(sealing.is_ok(), "lengths are right");
    })
}

struct Derived;

impl KeyType for Derived {
    fn len(&self) -> usize {
        128
    }
}

fn one_segment(plain_len: usize) -> Contender {
    let (plain, mut sealed) = (vec![5; plain_len], vec![0u8; plain_len + 32]);
    timed(move || {
        let made = seal_one_segment(&plain, &mut sealed);
        assert!(made.is_ok(), "lengths are right");
    })
}

fn seal_one_segment(plain: &[u8], sealed: &mut [u8]) -> Result<(), aws_lc_rs::error::Unspecified> {
    let (mut info, mut keys) = ([7; 108], [[0; 32]; 4]);
    rand::fill(&mut info[32..64])?;
    Prk::new_less_safe(HKDF_SHA256, &[7; 32]).expand(&[&info], Derived)?.fill(keys.as_flattened_mut())?;
    let [enc, iv, mac, _] = keys;
    let mut first = Block::from([0; 16]);
    Aes256::new(&iv.into()).encrypt_block(&mut first);
    let (ciphertext, tag) = sealed.split_at_mut(plain.len() + 16);
    let (text, padding) = ciphertext.split_at_mut(plain.len());
    text.copy_from_slice(plain);
    padding.fill(16);
    let blocks = Block::cast_slice_from_core_mut(ciphertext.as_chunks_mut().0);
    cbc::Encryptor::inner_iv_init(&Aes256::new(&enc.into()), &first).encrypt_blocks(blocks);
    let mac = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &mac)?);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    tag.copy_from_slice(mac.seal_in_place_separate_tag(nonce, Aad::from(&*ciphertext), &mut [])?.as_ref());
    Ok(())
}

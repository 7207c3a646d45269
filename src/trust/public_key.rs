//! Checks of public keys at registration: a key that ring could never verify with would only be noticed by users who cannot sign in.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::{agreement, rand::SystemRandom};

/// Sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Largest public exponent, in bits.
const MAX_EXPONENT_BITS: usize = 33;
/// Bytes of an Ed25519 key.
const ED25519_BYTES: usize = 32;

/// Checks that a key can verify with `algorithms`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<(), String> {
    let bytes = || key.try_get_as_bytes().map_err(|_| "has no point".to_owned());
    match algorithms.first() {
        Some(Algorithm::ES256) => check_point(&agreement::ECDH_P256, bytes()?),
        Some(Algorithm::ES384) => check_point(&agreement::ECDH_P384, bytes()?),
        Some(Algorithm::EdDSA) => match bytes()?.len() {
            ED25519_BYTES => Ok(()),
            other => Err(format!("has {other} bytes instead of {ED25519_BYTES}")),
        },
        Some(_) => match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => check_rsa(n, e),
            DecodingKeyKind::SecretOrDer(der) => {
                let (n, e) = rsa_of_der(der).ok_or("is no RSA key that can be read")?;
                check_rsa(n, e)
            }
        },
        None => Err("verifies nothing".into()),
    }
}

/// A key agreement with the point refuses every point that is not on the curve, and every other length.
fn check_point(curve: &'static agreement::Algorithm, point: &[u8]) -> Result<(), String> {
    let own = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new())
        .map_err(|_| "cannot be checked: the system gives no random numbers")?;
    agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, point), |_| ())
        .map_err(|_| "has a point that is not on its curve, or coordinates of another length".into())
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), String> {
    if n.first() == Some(&0) || e.first() == Some(&0) {
        return Err("has a modulus or exponent with a leading zero byte".into());
    }
    let bits = bits(n);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("has {bits} bits; {} to {} are allowed", RSA_BITS.start(), RSA_BITS.end()));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !is_odd(n) || !is_odd(e) || e == [1] || self::bits(e) > MAX_EXPONENT_BITS {
        return Err("has a modulus or exponent that no RSA key has".into());
    }
    Ok(())
}

/// Bits of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Modulus and exponent of an `RSAPublicKey` in DER: a sequence of two integers.
fn rsa_of_der(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (numbers, _) = der_value(der, 0x30)?;
    let (n, rest) = der_value(numbers, 0x02)?;
    let (e, _) = der_value(rest, 0x02)?;
    // An integer whose first bit is set has a zero byte in front.
    let unsigned = |number: &'_ [u8]| number.strip_prefix(&[0]).map_or(number.len(), <[u8]>::len);
    Some((&n[n.len() - unsigned(n)..], &e[e.len() - unsigned(e)..]))
}

/// The content of the first value, which must have this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let fits = length.len() <= 4;
            (fits.then(|| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))?, rest)
        }
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_have_bounds() {
        let n = |bits: usize| {
            let mut n = vec![0xff; bits.div_ceil(8)];
            n[0] = u8::MAX >> (7 - (bits + 7) % 8);
            n
        };
        for bits in [2_048, 3_072, 8_192] {
            assert_eq!(check_rsa(&n(bits), &[1, 0, 1]), Ok(()), "{bits}");
        }
        for bits in [1_024, 2_047, 8_193, 9_216] {
            assert!(check_rsa(&n(bits), &[1, 0, 1]).is_err(), "{bits}");
        }
        let leading_zero = [&[0][..], &n(2_048)].concat();
        assert!(check_rsa(&leading_zero, &[1, 0, 1]).is_err());
        for e in [&[0, 1, 0, 1][..], &[1], &[2], &[], &[1, 0, 0, 0, 0, 0, 1]] {
            assert!(check_rsa(&n(2_048), e).is_err(), "{e:?}");
        }
        assert_eq!(check_rsa(&n(2_048), &[3]), Ok(()));
    }

    #[test]
    fn der_is_read_within_its_bounds() {
        assert_eq!(rsa_of_der(&[0x30, 7, 2, 2, 0, 0x81, 2, 1, 3]), Some((&[0x81][..], &[3][..])));
        for broken in
            [&[][..], &[0x30], &[0x30, 7, 2, 2, 0], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x02, 1, 1], &[0x30, 0xff]]
        {
            assert_eq!(rsa_of_der(broken), None, "{broken:?}");
        }
    }
}

//! Decimal numbers of up to 256 bits, as a low and a high half.

/// The number that a text says.
pub fn parse(text: &str) -> Result<(u128, u128), String> {
    let wrong = || format!("{text:?} is not a number below 2^256");
    let mut limbs = [0u64; 4];
    if text.is_empty() {
        return Err(wrong());
    }
    for c in text.chars() {
        let mut carry = u128::from(c.to_digit(10).ok_or_else(wrong)?);
        for limb in &mut limbs {
            carry += u128::from(*limb) * 10;
            *limb = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            return Err(wrong());
        }
    }
    let half = |i: usize| u128::from(limbs[i]) | u128::from(limbs[i + 1]) << 64;
    Ok((half(0), half(2)))
}

/// The text of a number.
pub fn format((low, high): (u128, u128)) -> String {
    let mut limbs = [(high >> 64) as u64, high as u64, (low >> 64) as u64, low as u64];
    let mut digits = Vec::new();
    loop {
        let mut rest = 0u128;
        for limb in &mut limbs {
            rest = rest << 64 | u128::from(*limb);
            *limb = (rest / 10) as u64;
            rest %= 10;
        }
        digits.push(char::from(b'0' + rest as u8));
        if limbs == [0; 4] {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn round_trip() {
        let largest = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        for text in ["0", "7", "18446744073709551616", "340282366920938463463374607431768211456", largest] {
            assert_eq!(super::format(super::parse(text).unwrap()), text);
        }
        assert_eq!(super::parse(largest), Ok((u128::MAX, u128::MAX)));
        for text in ["", "-1", "1e3", "115792089237316195423570985008687907853269984665640564039457584007913129639936"] {
            assert!(super::parse(text).is_err());
        }
    }
}

//! The packed `state` of a tenant, as `lua/README.md` describes it.

use rmp::{Marker, decode, encode};

/// How a tenant stands: what every call reads first.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub position: i64,
    pub due_ms: Option<i64>,
    pub upkeep_us: i64,
    pub rate_us: f64,
    pub version: i64,
    /// How many are held; `None` where nobody has counted since.
    pub held: Option<i64>,
}

impl Standing {
    pub fn read(mut packed: &[u8]) -> Self {
        let mut number = || match Marker::from_u8(packed[0]) {
            Marker::False => {
                packed = &packed[1..];
                None
            }
            Marker::F64 => Some(decode::read_f64(&mut packed).unwrap()),
            _ => Some(decode::read_int::<i64, _>(&mut packed).unwrap() as f64),
        };
        let whole = |number: Option<f64>| number.map(|number| number as i64);
        Self {
            position: whole(number()).unwrap(),
            due_ms: whole(number()),
            upkeep_us: whole(number()).unwrap(),
            rate_us: number().unwrap(),
            version: whole(number()).unwrap(),
            held: whole(number()),
        }
    }

    pub fn packed(&self) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut whole = |number: Option<i64>| match number {
            Some(number) => drop(encode::write_sint(&mut packed, number).unwrap()),
            None => encode::write_bool(&mut packed, false).unwrap(),
        };
        whole(Some(self.position));
        whole(self.due_ms);
        whole(Some(self.upkeep_us));
        whole(Some(self.rate_us as i64));
        whole(Some(self.version));
        whole(self.held);
        packed
    }

    /// What a refused call leaves as it was: neither the rate, nor whether somebody has counted.
    pub fn without_counts(self) -> Self {
        Self { rate_us: 0.0, held: None, ..self }
    }
}

//! One array of NumPy's `.npy` format (version 1 or 2) out of a stream of them.

use std::io::{Error, ErrorKind, Read, Result};

/// An array: NumPy's name of its type (`<f4`), its shape, and its bytes.
pub(super) struct Array {
    pub kind: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Array {
    /// The next array of a stream, or nothing at its end.
    ///
    /// # Errors
    /// What follows is not an array, or is cut short.
    pub fn next(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut magic = [0; 8];
        match stream.read(&mut magic[..1])? {
            0 => return Ok(None),
            _ => stream.read_exact(&mut magic[1..])?,
        }
        if magic[..6] != *b"\x93NUMPY" {
            return Err(invalid("not a NumPy array"));
        }
        let length = match magic[6] {
            1 => u32::from(u16::from_le_bytes(exactly(stream)?)),
            2 => u32::from_le_bytes(exactly(stream)?),
            version => return Err(invalid(format!("a NumPy array of version {version}"))),
        };
        let header = String::from_utf8(some(stream, length as usize)?).map_err(|_| invalid("a header that is not text"))?;
        let (kind, shape) = parse(&header).ok_or_else(|| invalid(format!("a header that is not understood: {}", header.trim())))?;
        let width: usize = kind.get(2..).and_then(|width| width.parse().ok()).ok_or_else(|| invalid(format!("numbers of type {kind}")))?;
        let size = shape.iter().try_fold(width, |size, &length| size.checked_mul(length)).ok_or_else(|| invalid("an array too large"))?;
        Ok(Some(Self { kind, bytes: some(stream, size)?, shape }))
    }

    /// The numbers of an array of float32 or float64; the latter are rounded.
    pub fn floats(&self) -> Vec<f32> {
        match self.kind.as_str() {
            "<f8" => self.bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect(),
            _ => self.bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        }
    }

    /// The number of an integer array of no dimension.
    pub fn integer(&self) -> Option<i64> {
        match (self.kind.as_str(), self.shape.as_slice()) {
            ("<i8", []) => Some(i64::from_le_bytes(self.bytes.as_slice().try_into().ok()?)),
            ("<i4", []) => Some(i32::from_le_bytes(self.bytes.as_slice().try_into().ok()?).into()),
            _ => None,
        }
    }

    /// The number of any array of no dimension; a flag is 1 if it is set.
    pub fn number(&self) -> Option<f64> {
        match (self.kind.as_str(), self.shape.as_slice()) {
            ("<f8", []) => Some(f64::from_le_bytes(self.bytes.as_slice().try_into().ok()?)),
            ("|b1", []) => self.bytes.first().map(|&byte| f64::from(byte)),
            _ => self.integer().map(|number| number as f64),
        }
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (32, 32), }`: type and shape, if the rows come first.
fn parse(header: &str) -> Option<(String, Vec<usize>)> {
    let after = |key: &str| Some(header.split_once(&format!("'{key}':"))?.1.trim_start());
    let kind = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0;
    if !after("fortran_order")?.starts_with("False") {
        return None;
    }
    let shape = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let lengths = shape.split(',').map(str::trim).filter(|length| !length.is_empty());
    Some((kind.to_owned(), lengths.map(|length| length.parse().ok()).collect::<Option<_>>()?))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, message.into())
}

fn exactly<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// So many bytes, without trusting the number before they are there.
fn some(stream: &mut impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(count as u64).read_to_end(&mut bytes)?;
    if bytes.len() < count { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
}

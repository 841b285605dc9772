//! What holds for any bytes on the worker's channel.

use infissi::proxy::channel::{LONGEST_FRAME, Order, Report};
use infissi::proxy::channel_stream::{Malformed, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// As orders and as reports.
pub(crate) fn check(bytes: &[u8]) {
    as_words::<Order>(bytes);
    as_words::<Report>(bytes);
}

fn as_words<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let announced = bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
    match decode::<T>(bytes) {
        Ok(None) => assert!(announced.is_none_or(|length| bytes.len() < 4 + length && length <= LONGEST_FRAME)),
        Ok(Some((words, used))) => {
            assert_eq!(Some(used), announced.map(|length| 4 + length));
            // A frame is a frame whatever stands behind it, and nothing is one before it is whole.
            assert_eq!(decode::<T>(&bytes[..used]).unwrap(), Some((words, used)));
            assert!(decode::<T>(&bytes[..used - 1]).unwrap().is_none());
            let (words, _) = decode::<T>(bytes).unwrap().unwrap();
            let again = encode(&words).unwrap();
            assert_eq!(decode::<T>(&again).unwrap(), Some((words, again.len())));
        }
        Err(Malformed::TooLong(length)) => assert!(announced == Some(length) && length > LONGEST_FRAME),
        Err(Malformed::Words(_)) => assert!(announced.is_some_and(|length| bytes.len() >= 4 + length)),
        Err(error @ (Malformed::Descriptors | Malformed::CutShort)) => panic!("{error} of bytes alone"),
    }
}

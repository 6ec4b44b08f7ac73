//! What a peer's bytes may do.

use bytes::{BufMut, BytesMut};
use streamraft::codec::{CodecError, MessageCodec};
use streamraft::{Membership, Message, Stamp};
use tokio_util::codec::{Decoder, Encoder};

use crate::one::ping;

/// etcd-io/etcd#21874: a length of 2^64-1 in a frame went to the allocator, which panicked.
#[test]
fn etcd_21874_a_frame_that_announces_more_than_memory_is_refused_at_its_length() {
    for length in [u32::MAX, u32::MAX / 2, 1 << 30] {
        let mut codec = MessageCodec::<u64>::new();
        let mut bytes = BytesMut::new();
        bytes.put_u32(length);
        let room = bytes.capacity();

        let refused = codec.decode(&mut bytes);

        assert!(
            matches!(refused, Err(CodecError::FrameTooLong { .. })),
            "{refused:?}"
        );
        assert_eq!(bytes.capacity(), room, "nothing was reserved");
    }
}

/// Inside a frame, at every place: it may be a number, it may be no message, and it does no harm.
#[test]
fn etcd_21874_a_length_of_2_to_the_64_inside_a_frame_does_no_harm() {
    let message = Message::new(3, Stamp::new(2, 7), ping(1))
        .with_membership(Membership::initial([1_u64, 2, 3]).into());
    let mut whole = BytesMut::new();
    let mut codec = MessageCodec::<u64>::new();
    codec.encode(message, &mut whole).expect("it can be sent");
    let payload = whole.split_off(4);
    let greatest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];

    let mut refused = 0;
    for at in 0..payload.len() {
        let mut bytes = BytesMut::new();
        bytes.put_u32(u32::try_from(payload.len() + greatest.len() - 1).expect("short"));
        bytes.extend_from_slice(&payload[..at]);
        bytes.extend_from_slice(&greatest);
        bytes.extend_from_slice(&payload[at + 1..]);
        refused += usize::from(codec.decode(&mut bytes).is_err());
        assert!(bytes.is_empty(), "the frame is taken, whatever it says");
    }
    assert!(refused >= 3, "the lengths of three lists are among them");
}

//! The socket of a connection: descriptors go through it, and its end is the other side's end.

use crate::WireError;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), WireError> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(WireError::System)
}

/// Sends one descriptor. False: the socket takes no more now.
pub(crate) fn send(socket: &OwnedFd, descriptor: BorrowedFd<'_>) -> Result<bool, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::net::sendmsg(socket, &[IoSlice::new(&[0])], &mut control, flags) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::TOOMANYREFS) => Ok(false),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(WireError::Closed),
        Err(error) => Err(WireError::System(error)),
    }
}

/// Takes the descriptor that was sent before its message. What came with more than one is refused, and all are closed.
pub(crate) fn receive(socket: &OwnedFd) -> Result<OwnedFd, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
        Ok(got) => got,
        Err(Errno::AGAIN) => return Err(WireError::Descriptor),
        Err(Errno::CONNRESET) => return Err(WireError::Closed),
        Err(error) => return Err(WireError::System(error)),
    };
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let whole = !got.flags.contains(ReturnFlags::CTRUNC);
    match descriptors.pop() {
        Some(one) if whole && descriptors.is_empty() => Ok(one),
        None if got.bytes == 0 => Err(WireError::Closed),
        _ => Err(WireError::Descriptor),
    }
}

/// Waits until the other side has gone, or this side has shut the socket.
pub(crate) fn wait_for_end(socket: &OwnedFd) {
    loop {
        let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::RDHUP)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) => return,
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// True once the other side has gone, or this side has shut the socket.
pub(crate) fn has_ended(socket: &OwnedFd) -> bool {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::RDHUP)];
    !matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(0) | Err(Errno::INTR))
}

/// Ends the connection for both sides.
pub(crate) fn shut(socket: &OwnedFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

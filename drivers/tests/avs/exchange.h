/*
 * What exchange_source.c and exchange_sink.c agree upon: a protocol of the handshake, and an interface that takes bytes.
 */
#ifndef USERKS_EXCHANGE_H
#define USERKS_EXCHANGE_H

#include "avs.h"

/* {6B1D0C52-93F4-4E6D-9B7E-1C40D7A85E01}, {6B1D0C52-93F4-4E6D-9B7E-1C40D7A85E02} */
static const GUID Protocol = {0x6b1d0c52, 0x93f4, 0x4e6d, {0x9b, 0x7e, 0x1c, 0x40, 0xd7, 0xa8, 0x5e, 0x01}};
static const GUID ExchangeId = {0x6b1d0c52, 0x93f4, 0x4e6d, {0x9b, 0x7e, 0x1c, 0x40, 0xd7, 0xa8, 0x5e, 0x02}};

enum { VERSION = 3, FRAMES = 10, STATUS_ASKED = 77 };

typedef struct EXCHANGE EXCHANGE;
struct EXCHANGE {
    const struct {
        NTSTATUS(NTAPI *QueryInterface)(EXCHANGE *This, const GUID *Id, PVOID *Interface);
        ULONG(NTAPI *AddRef)(EXCHANGE *This);
        ULONG(NTAPI *Release)(EXCHANGE *This);
        void(NTAPI *Put)(EXCHANGE *This, UCHAR Number);
    } *Methods;
};

#endif

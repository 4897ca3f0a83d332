import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  ghcbExitCodes,
  guestMessageSize,
  snpGuestRequestErrors,
  snpGuestRequestResult,
} from '@vouchsafe/sev';
import { callHost } from './ghcb-exit.js';
import type { GuestRequestTransport } from './guest-channel.js';

/** Guest addresses of pages that are shared with the host. */
export interface GuestRequestPlaces {
  /** The registered GHCB. */
  readonly ghcb: number;
  /** One page for requests. */
  readonly request: number;
  /** One page for responses. */
  readonly response: number;
  /** Pages for the host's certificate table. */
  readonly certificates: { readonly address: number; readonly pages: number };
}

/**
 * Guest requests through the GHCB of a vCPU (GHCB specification, SNP guest request and extended guest request). The host
 * carries the message to the firmware and back.
 */
export function ghcbGuestRequests(view: GuestView, places: GuestRequestPlaces): GuestRequestTransport {
  const { ghcb, request: requestAt, response: responseAt, certificates } = places;
  const room = certificates.pages * guestMessageSize;
  return {
    async exchange(request, withCertificates) {
      await view.writeShared(requestAt, request);
      await view.writeShared(responseAt, new Uint8Array(guestMessageSize));
      if (withCertificates) await view.writeShared(certificates.address, new Uint8Array(room));
      const pages = { exitInfo1: BigInt(requestAt), exitInfo2: BigInt(responseAt) };
      const answer = await callHost(
        view,
        ghcb,
        withCertificates
          ? {
              ...pages,
              exitCode: ghcbExitCodes.EXT_GUEST_REQUEST,
              rax: BigInt(certificates.address),
              rbx: BigInt(certificates.pages),
            }
          : { ...pages, exitCode: ghcbExitCodes.GUEST_REQUEST },
      );
      const result = snpGuestRequestResult(answer.exitInfo2);
      const response = await view.readShared(responseAt, guestMessageSize);
      const given = withCertificates && result.vmmError !== snpGuestRequestErrors.CERTIFICATE_BUFFER;
      return {
        ...result,
        response,
        ...(given ? { certificates: await view.readShared(certificates.address, room) } : {}),
      };
    },
  };
}

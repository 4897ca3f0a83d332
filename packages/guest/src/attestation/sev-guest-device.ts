import {
  describeStatus,
  reportRequest,
  type Secret,
  sevGuestCertificatesLimit,
  sevGuestExtendedReportRequest,
  sevGuestIoctls,
  sevGuestRequest,
  sevGuestResponseSizes,
  snpGuestRequestErrors,
  UnavailableError,
} from '@vouchsafe/sev';
import { keyRequestPayload, reportOf, takeDerivedKey } from '../snp/channel-device.js';
import {
  type AttestationDevice,
  type AttestationEvidence,
  requireKeyRequest,
  requireReportRequest,
  withoutPadding,
} from './attestation-device.js';
import { type GuestIoctlDevice, openGuestIoctlDevice, type PlacedBytes } from './ioctl-device.js';
import { codeOf } from './tsm-files.js';

/** Where linux has the device of the sev-guest driver. */
export const linuxSevGuestPath = '/dev/sev-guest';

export interface SevGuestDeviceOptions {
  /** {@link linuxSevGuestPath} when absent. */
  readonly path?: string;
  readonly open?: (path: string) => Promise<GuestIoctlDevice>;
}

/** What one ioctl came to. */
interface Answer {
  readonly failed: string | undefined;
  readonly firmwareError: number;
  readonly vmmError: number;
  readonly response: Uint8Array;
}

/**
 * The device of the sev-guest driver (linux Documentation/virt/coco/sev-guest.rst). It is opened at the first call. The
 * driver speaks for the privilege level that the kernel runs at; the level that a request leaves out is 0.
 */
export function sevGuestDevice(options: SevGuestDeviceOptions = {}): AttestationDevice {
  const { path = linuxSevGuestPath, open = openGuestIoctlDevice } = options;
  let opened: Promise<GuestIoctlDevice> | undefined;
  let closed = false;

  function device(): Promise<GuestIoctlDevice> {
    if (closed) throw new UnavailableError(path, 'the device has been closed');
    opened ??= open(path).catch((error: unknown) => {
      opened = undefined;
      throw openError(path, error);
    });
    return opened;
  }

  /** Sends a request whose memory is the caller's to free; gives a copy of the response, whose memory is zeroed. */
  async function call(
    ioctl: number,
    request: PlacedBytes,
    responseSize: number,
    messageVersion: number,
  ): Promise<Answer> {
    const target = await device();
    const response = target.place(new Uint8Array(responseSize));
    const argument = target.place(
      sevGuestRequest.build({
        messageVersion,
        requestAddress: request.address,
        responseAddress: response.address,
      }),
    );
    try {
      const result = await target.ioctl(ioctl, argument.address);
      const { firmwareError, vmmError } = sevGuestRequest.parse(argument.bytes);
      const failed = result === 0 ? undefined : result;
      return { failed, firmwareError, vmmError, response: response.bytes.slice() };
    } finally {
      response.free();
      argument.free();
    }
  }

  async function extendedReport(values: Parameters<typeof reportRequest.build>[0]) {
    const target = await device();
    const certificates = target.place(new Uint8Array(sevGuestCertificatesLimit));
    const request = target.place(
      sevGuestExtendedReportRequest.build({
        report: reportRequest.parse(reportRequest.build(values)),
        certificatesAddress: certificates.address,
        certificatesLength: sevGuestCertificatesLimit,
      }),
    );
    try {
      const answer = await call(sevGuestIoctls.SNP_GET_EXT_REPORT, request, sevGuestResponseSizes.report, 1);
      return { answer, table: certificates.bytes.slice() };
    } finally {
      request.free();
      certificates.free();
    }
  }

  async function plainReport(values: Parameters<typeof reportRequest.build>[0]): Promise<Answer> {
    const request = (await device()).place(reportRequest.build(values));
    try {
      return await call(sevGuestIoctls.SNP_GET_REPORT, request, sevGuestResponseSizes.report, 1);
    } finally {
      request.free();
    }
  }

  return {
    kind: 'sev-guest',
    async report(request): Promise<AttestationEvidence> {
      requireReportRequest(request);
      const values = { reportData: request.reportData, vmpl: request.vmpl ?? 0 };
      const { answer, table } = await extendedReport(values);
      if (answer.failed !== undefined && answer.vmmError === snpGuestRequestErrors.CERTIFICATE_BUFFER) {
        // The host's table is longer than the driver takes; the report does not depend on it.
        return { report: reportOf(requireSuccess(path, await plainReport(values))) };
      }
      const report = reportOf(requireSuccess(path, answer));
      const trimmed = withoutPadding(table);
      return { report, ...(trimmed === undefined ? {} : { certificateTable: trimmed }) };
    },
    async deriveKey(request): Promise<Secret> {
      requireKeyRequest(request);
      const { version, payload } = keyRequestPayload(request, 0);
      if (version !== 1) {
        throw new UnavailableError(
          path,
          'the driver takes version 1 of key requests, which names no mitigations',
          {
            hint: 'leave the field launchMitigationVector out',
          },
        );
      }
      const placed = (await device()).place(payload);
      try {
        const answer = await call(
          sevGuestIoctls.SNP_GET_DERIVED_KEY,
          placed,
          sevGuestResponseSizes.key,
          version,
        );
        return takeDerivedKey(requireSuccess(path, answer));
      } finally {
        placed.free();
      }
    },
    async close() {
      closed = true;
      const target = await opened?.catch(() => undefined);
      opened = undefined;
      await target?.close();
    },
  };
}

/** The response's payload. @throws UnavailableError saying who failed */
function requireSuccess(path: string, { failed, firmwareError, vmmError, response }: Answer): Uint8Array {
  if (failed === undefined) return response;
  // The driver leaves 0xff where the firmware was never called.
  if (vmmError !== 0) throw new UnavailableError(path, `the host answered error ${vmmError} (${failed})`);
  const firmware =
    firmwareError === 0 || firmwareError === 0xff
      ? ''
      : `, the firmware ${describeStatus(firmwareError).text}`;
  const hints: Readonly<Record<string, string>> = {
    ENOTTY: 'the driver wiped its key after an answer that it could not trust: start the guest anew',
    ETIMEDOUT: 'the host is busy or throttles its guests; the driver’s key is gone: start the guest anew',
    EINVAL: 'the driver does not take the request: a kernel older than 5.19 has none of this',
  };
  throw new UnavailableError(path, `the driver answered ${failed}${firmware}`, { hint: hints[failed] });
}

function openError(path: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === undefined || error instanceof UnavailableError) return error;
  const hints: Readonly<Record<string, string>> = {
    ENOENT: 'load the module sev-guest; outside a SEV-SNP guest there is no such device',
    EACCES: 'only root may open it',
  };
  return new UnavailableError(path, `it cannot be opened: the system answered ${code}`, {
    hint: hints[code],
    cause: error,
  });
}

import type { SnpFirmwareVersion } from '@vouchsafe/sev';

export function isOlder(a: SnpFirmwareVersion, b: SnpFirmwareVersion): boolean {
  const [own, other] = [a, b].map(({ major, minor, build }) => (major << 16) | (minor << 8) | build);
  return own! < other!;
}

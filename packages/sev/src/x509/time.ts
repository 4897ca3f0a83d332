import { InvalidArgumentError } from '../errors.js';
import type { DerReader } from './der.js';
import { tags } from './der-tags.js';
import { derText } from './der-writer.js';

/**
 * Reads a Time of RFC 5280 section 4.1.2.5: UTCTime `YYMMDDHHMMSSZ` until 2049, GeneralizedTime `YYYYMMDDHHMMSSZ` from
 * 2050, in both the only form that DER and the RFC leave. Gives milliseconds since 1970.
 */
export function readTime(reader: DerReader, field: string): number {
  const element = reader.element(field, [tags.utcTime, tags.generalizedTime]);
  const text = String.fromCharCode(...element.content.subarray(0, 32));
  const [form, expected] =
    element.tag === tags.utcTime
      ? ([/^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, 'a UTCTime YYMMDDHHMMSSZ'] as const)
      : ([
          /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/,
          'a GeneralizedTime YYYYMMDDHHMMSSZ from 2050 on',
        ] as const);
  const digits = form.exec(text)?.slice(1).map(Number);
  const time = digits === undefined ? undefined : timeOf(digits, element.tag === tags.utcTime);
  if (time === undefined)
    throw reader.refuse(field, element, expected, text.replaceAll(/[^ -~]/g, '?') || 'nothing');
  return time;
}

function timeOf(digits: readonly number[], short: boolean): number | undefined {
  const [written = 0, month = 0, day = 0, hours = 0, minutes = 0, seconds = 0] = digits;
  const year = short ? written + (written < 50 ? 2000 : 1900) : written;
  const time = Date.UTC(year, month - 1, day, hours, minutes, seconds);
  const date = new Date(time);
  // Date.UTC carries a 31st of April over into May: what comes back must be what was written.
  const back = [
    date.getUTCFullYear(),
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
  ];
  const same = [year, month, day, hours, minutes, seconds].every((value, i) => value === back[i]);
  return same && (short || year >= 2050) ? time : undefined;
}

/** The Time of milliseconds since 1970, whole seconds. @throws InvalidArgumentError outside the years 1950 to 9999 */
export function derTime(time: number): Uint8Array {
  const date = new Date(time);
  const year = date.getUTCFullYear();
  if (!(year >= 1950 && year <= 9999) || time % 1000 !== 0)
    throw new InvalidArgumentError('time', `${time} is not a whole second of the years 1950 to 9999`);
  const text = `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  return year < 2050 ? derText(tags.utcTime, text.slice(2)) : derText(tags.generalizedTime, text);
}

/** `2026-02-05T01:04:33Z`. */
export function timeText(time: number): string {
  return new Date(time).toISOString().replace('.000Z', 'Z');
}

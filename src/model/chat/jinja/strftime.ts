/** datetime.now().strftime(format), in the C locale. */
import { refuse } from './errors.js';

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = 'January February March April May June July August September October November December'.split(
  ' ',
);

const two = (value: number): string => String(value).padStart(2, '0');
const blank = (value: number): string => String(value).padStart(2, ' ');

function dayOfYear(date: Date): number {
  const day = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((day - Date.UTC(date.getFullYear(), 0, 0)) / 86_400_000);
}

const hour12 = (date: Date): number => date.getHours() % 12 || 12;

const FIELDS: Readonly<Record<string, (date: Date) => string>> = {
  '%': () => '%',
  A: (date) => DAYS[date.getDay()]!,
  a: (date) => DAYS[date.getDay()]!.slice(0, 3),
  B: (date) => MONTHS[date.getMonth()]!,
  b: (date) => MONTHS[date.getMonth()]!.slice(0, 3),
  h: (date) => MONTHS[date.getMonth()]!.slice(0, 3),
  D: (date) => strftime(date, '%m/%d/%y'),
  d: (date) => two(date.getDate()),
  '-d': (date) => String(date.getDate()),
  e: (date) => blank(date.getDate()),
  F: (date) => strftime(date, '%Y-%m-%d'),
  f: (date) => `${String(date.getMilliseconds()).padStart(3, '0')}000`,
  H: (date) => two(date.getHours()),
  '-H': (date) => String(date.getHours()),
  I: (date) => two(hour12(date)),
  '-I': (date) => String(hour12(date)),
  j: (date) => String(dayOfYear(date)).padStart(3, '0'),
  M: (date) => two(date.getMinutes()),
  '-M': (date) => String(date.getMinutes()),
  m: (date) => two(date.getMonth() + 1),
  '-m': (date) => String(date.getMonth() + 1),
  n: () => '\n',
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  R: (date) => strftime(date, '%H:%M'),
  S: (date) => two(date.getSeconds()),
  '-S': (date) => String(date.getSeconds()),
  T: (date) => strftime(date, '%H:%M:%S'),
  t: () => '\t',
  u: (date) => String(date.getDay() || 7),
  w: (date) => String(date.getDay()),
  X: (date) => strftime(date, '%H:%M:%S'),
  x: (date) => strftime(date, '%m/%d/%y'),
  c: (date) => strftime(date, '%a %b %e %H:%M:%S %Y'),
  Y: (date) => String(date.getFullYear()),
  y: (date) => two(date.getFullYear() % 100),
  // A date without a time zone has none to show.
  Z: () => '',
  z: () => '',
};

export function strftime(date: Date, format: string): string {
  return format.replace(/%(-?[\s\S]?)/g, (all, field: string) => {
    const write = FIELDS[field] ?? refuse(`'${all}' in strftime_now`);
    return write(date);
  });
}

import { count } from '../../ui/format';

const two = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const share = new Intl.NumberFormat(undefined, { style: 'percent', maximumSignificantDigits: 2 });

/** Jobs per second in the unit in which the number is easy to read: `12/s`, `3.4/min`, `5/h`. */
export function rate(perSecond: number): string {
  if (perSecond === 0) return '0/min';
  if (perSecond >= 1) return `${perSecond >= 100 ? count(Math.round(perSecond)) : two.format(perSecond)}/s`;
  if (perSecond * 60 >= 1) return `${two.format(perSecond * 60)}/min`;
  return `${two.format(perSecond * 3600)}/h`;
}

export function percent(part: number): string {
  return share.format(part);
}

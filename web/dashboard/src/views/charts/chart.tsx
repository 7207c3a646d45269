// A chart, with its numbers in words and as a table: who cannot see the picture, or cannot point at it, reads those.

import type { JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { isDark } from '../../app/theme';
import type { Line } from './hour';

export interface ChartLine {
  label: string;
  /** Which of the colours `--series-1` to `--series-4`. */
  colour: 1 | 2 | 3 | 4;
  values: Line;
  /** Lines differ not by colour alone. */
  dash?: number[];
}

interface ChartProps {
  title: string;
  /** What it says, as a sentence. */
  summary: string;
  /** Seconds since the Unix epoch. */
  xs: number[];
  lines: ChartLine[];
  format: (value: number) => string;
  /** Times differ by orders of magnitude. */
  isLogarithmic?: boolean;
  /** Values at single moments with nothing between them. */
  isSparse?: boolean;
  /** Over the whole width of the view. */
  isWide?: boolean;
}

const HEIGHT = 190; // px
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

export function Chart(props: ChartProps): JSX.Element {
  const { title, summary, xs, lines, format } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null); // the minute that is pointed at
  const [isTableOpen, setTableOpen] = useState(false);
  const id = useId();
  const dark = isDark();

  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const made = new uPlot(optionsOf(props, element, setAt), dataOf(props), element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, lines.length]);
  useEffect(() => plot.current?.setData(dataOf(props)));

  const shownAt = at ?? xs.length - 1;
  return (
    <figure class="card chart" data-wide={props.isWide} aria-labelledby={id}>
      <figcaption>
        <h2 id={id}>{title}</h2>
        <p class="hint">{summary}</p>
      </figcaption>
      <div ref={place} class="plot" aria-hidden="true" />
      <ul class="legend" aria-hidden="true">
        <li class="number">{clock.format((xs[shownAt] ?? 0) * 1000)}</li>
        {lines.map((line) => (
          <li key={line.label}>
            <i data-colour={line.colour} data-dashed={line.dash !== undefined} /> {line.label}{' '}
            <strong class="number">{wordsOf(line.values, shownAt, at === null, format)}</strong>
          </li>
        ))}
      </ul>
      <details onToggle={(toggle) => setTableOpen(toggle.currentTarget.open)}>
        <summary>As a table</summary>
        {isTableOpen && <MinuteTable {...props} />}
      </details>
    </figure>
  );
}

/** The newest minute first; those with nothing to tell are left out. */
function MinuteTable({ title, xs, lines, format }: ChartProps): JSX.Element {
  const rows = xs
    .map((x, at) => ({ x, values: lines.map((line) => line.values[at] ?? null) }))
    .filter((row) => row.values.some((value) => value !== null));
  return (
    <div class="chart-table" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
      <table>
        <thead>
          <tr>
            <th scope="col">Minute</th>
            {lines.map((line) => (
              <th key={line.label} scope="col">
                {line.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.reverse().map((row) => (
            <tr key={row.x}>
              <th scope="row">{clock.format(row.x * 1000)}</th>
              {row.values.map((value, at) => (
                <td key={lines[at]?.label}>{value === null ? '' : format(value)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** At the minute that is pointed at; else the latest that there is. */
function wordsOf(values: Line, at: number, isLatest: boolean, format: (value: number) => string): string {
  const value = isLatest ? values.findLast((some) => some !== null) : values[at];
  return value == null ? '—' : format(value);
}

function dataOf({ xs, lines, isLogarithmic }: ChartProps): uPlot.AlignedData {
  // A logarithm has no zero.
  return [
    xs,
    ...lines.map((line) =>
      isLogarithmic ? line.values.map((value) => (value === null ? null : Math.max(1, value))) : line.values,
    ),
  ];
}

function optionsOf(props: ChartProps, element: HTMLElement, onPoint: (at: number | null) => void): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => resolved(element, style.getPropertyValue(name));
  // Of a logarithm's many lines those of the powers of ten.
  const powers = (_: uPlot, splits: number[]): number[] =>
    splits.map((y) => (Number.isInteger(Math.log10(y)) ? y : null)) as number[];
  const axis = {
    stroke: colour('--quiet'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true },
      y: props.isLogarithmic
        ? {
            distr: 3,
            log: 10,
            range: (_, least, most) => [
              10 ** Math.floor(Math.log10(least || 1)),
              10 ** Math.max(1, Math.ceil(Math.log10((most || 1) * 1.01))),
            ],
          }
        : { range: (_, __, most) => [0, Math.max(4, Math.ceil((most ?? 0) * 1.08))] },
    },
    axes: [
      { ...axis, values: (_, splits) => splits.map((x) => clock.format(x * 1000)), space: 60, size: 28 },
      {
        ...axis,
        size: props.isLogarithmic ? 64 : 52,
        values: (_, splits) => splits.map((y) => (y === null ? '' : props.format(y))),
        ...(!props.isLogarithmic && { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] }),
        ...(props.isLogarithmic && { filter: powers, grid: { ...axis.grid, filter: powers } }),
      },
    ],
    series: [
      {},
      ...props.lines.map((line): uPlot.Series => ({
        label: line.label,
        stroke: colour(`--series-${line.colour}`),
        width: 2,
        ...(line.dash && { dash: line.dash }),
        spanGaps: props.isSparse ?? false,
        points: { show: props.isSparse ?? false, size: 5 },
      })),
    ],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx == null || (plot.cursor.left ?? -1) < 0 ? null : plot.cursor.idx)] },
  };
}

/** A canvas knows no `light-dark()`: the browser is asked what it is here. */
function resolved(element: HTMLElement, text: string): string {
  const probe = document.createElement('i');
  probe.style.color = text;
  element.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

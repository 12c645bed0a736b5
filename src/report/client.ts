/**
 * What runs in the reader's browser, as source text: live charts over the static drawings, and definitions on
 * hover or focus.
 */

export const CLIENT = `
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => '&#' + c.charCodeAt(0) + ';');

const number = (x) => {
  const size = Math.abs(x);
  return x.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 3);
};
const precise = (x) => {
  const size = Math.abs(x);
  return size >= 0.01 && size < 1e4 ? x.toPrecision(3) : x.toExponential(1);
};

const line = (text, value) =>
  '<div style="display:flex;gap:14px"><span>' + escape(text) + '</span>' +
  '<b style="margin-left:auto">' + value + '</b></div>';

const curveLine = ({ color, seriesName, value: [, mean, deviation] }) =>
  '<div style="display:flex;align-items:center;gap:6px">' +
  '<i style="width:9px;height:9px;border-radius:50%;background:' + color + '"></i>' + escape(seriesName) +
  '<b style="margin-left:auto;padding-left:14px">' + number(mean) +
  (deviation > 0 ? ' ± ' + number(deviation) : '') + '</b></div>';

// What a chart shows under the pointer, by the kind that figures.ts gave its tooltip.
const tooltips = {
  curve: (x) => (entries) => {
    const named = entries.filter((e) => e.seriesName && !/^series/.test(e.seriesName));
    if (named.length === 0) return '';
    return escape(x) + ' ' + named[0].value[0] + named.map(curveLine).join('');
  },
  kernel: (_, { labels }) => ({ value: [j, i, , k] }) =>
    '<div style="max-width:260px;white-space:normal">' + escape(labels[i]) + '<br>' + escape(labels[j]) +
    line('k', precise(k)) + '</div>',
  point: () => ({ value: [measured, predicted] }) =>
    line('measured', precise(measured)) + line('predicted', precise(predicted)),
  bar: () => ({ name, value }) => line(name, (100 * value).toFixed(1) + ' %'),
};

for (const holder of document.querySelectorAll('.chart')) {
  const option = JSON.parse(holder.nextElementSibling.textContent);
  const { kind, x } = option.tooltip;
  option.tooltip.formatter = tooltips[kind](x, option.tooltip);
  holder.replaceChildren();
  const chart = echarts.init(holder, null, { renderer: 'svg' });
  chart.setOption(option);
  new ResizeObserver(() => chart.resize()).observe(holder);
  const save = holder.parentElement.querySelector('.save');
  save.hidden = false;
  save.addEventListener('click', () => {
    const link = document.createElement('a');
    link.href = chart.getDataURL({ type: 'svg' });
    link.download = save.dataset.name + '.svg';
    link.click();
  });
}

const tip = document.getElementById('tip');
const hide = () => { tip.hidden = true; };
const show = ({ currentTarget: term }) => {
  tip.textContent = term.dataset.tip;
  tip.hidden = false;
  const box = term.getBoundingClientRect();
  const fitsBelow = box.bottom + tip.offsetHeight + 8 <= innerHeight;
  tip.style.left = Math.max(12, Math.min(box.left, innerWidth - tip.offsetWidth - 12)) + 'px';
  tip.style.top = (fitsBelow ? box.bottom + 6 : box.top - tip.offsetHeight - 6) + 'px';
};
for (const term of document.querySelectorAll('.term')) {
  for (const on of ['mouseenter', 'focus', 'click']) term.addEventListener(on, show);
  for (const off of ['mouseleave', 'blur']) term.addEventListener(off, hide);
}
addEventListener('scroll', hide, { passive: true });
`;

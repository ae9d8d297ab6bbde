"""What `milliroute check` judges, in the manner of `linkerd check`, and the splits too.

- `findings`: what a judgement is; `rendered`: as text or JSON;
- `splits`: of Objects, from files or a cluster; `installation`: of what the API server has of ours; `pods`: of proxies.

Pure: values in, findings out. Each finding that is not good says what to do.
"""

"""Linear regression on labels with noise: the smallest problem there is."""

# %%
import learning_dynamics as ld


@ld.configuration
class Teacher(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], latents["x"][0]


@ld.configuration
class Student(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (fields[0, 0] - sample.label) ** 2 / 2


def problem(rate):
    return ld.Problem(Teacher(), Student(), rate, label_noise=0.5)


if __name__ == "__main__":
    start = ld.order_parameters([[0.0]], [[0.1]])
    print(ld.integrate(problem(1.0), times=[4.0], start=start))
